"""What the existing endpoints say, in the two languages they say it in."""

from __future__ import annotations

from attrs import frozen

from pgvector_restore.http.context import Language

__all__ = ["Language", "Say", "message_of"]


@frozen
class Say:
    """One text in both languages; ``{names}`` are filled in."""

    #: Chinese.
    zh: str
    #: English.
    en: str

    def text(self, language: Language, **values: object) -> str:
        """The text in a language."""
        return (self.en if language == "en" else self.zh).format(**values)


#: ``message`` of an answer, by its status.
_MESSAGES: dict[int, Say] = {
    200: Say("操作成功", "success"),
    400: Say("请求参数错误", "bad request"),
    403: Say("禁止访问", "forbidden"),
    404: Say("资源未找到", "not found"),
    409: Say("操作冲突", "conflict"),
    500: Say("系统内部错误", "internal error"),
}


def message_of(status: int, language: Language) -> str:
    """What ``message`` says for a status."""
    return _MESSAGES[status].text(language)


# --- what was done ------------------------------------------------------------------------------

LISTED = Say(
    "成功扫描到 {locations} 个备份位置，共 {sets} 个备份集",
    "found {sets} backup sets at {locations} locations",
)
NONE_LISTED = Say("未找到任何可用的备份文件", "no backups were found")
RESTORED = Say("Vector表恢复完成", "the vector tables are restored")
BACKED_UP = Say("Vector表备份完成", "the vector tables are backed up")
EMPTIED = Say(
    "Vector表备份完成，embedding表已清空",
    "the vector tables are backed up, and the embedding table is emptied",
)
NOTHING_ASKED = Say("未请求任何操作", "nothing was asked for")

# --- what is wrong with a request ---------------------------------------------------------------

MISSING = Say("缺少必需参数: {names}", "missing parameters: {names}")
NO_JSON = Say("请求体不是有效的JSON对象", "the body is no JSON object")
BAD_TASK = Say(
    "无效的task_id格式，只能包含字母、数字和下划线",
    "task_id may hold letters, digits and underscores only",
)
BAD_FLAG = Say("参数 {name} 必须是 true 或 false", "{name} must be true or false")
BAD_TEXT = Say("参数 {name} 必须是字符串", "{name} must be a string")
BAD_STAMP = Say(
    "无效的timestamp格式，应为YYYYMMDD_HHMMSS", "timestamp must look like YYYYMMDD_HHMMSS"
)
BAD_TABLES = Say(
    "参数 tables 必须是非空的表名列表", "tables must be a list of at least one table name"
)
NO_SUCH_TABLE = Say("该备份集不包含 tables 中的某个表", "the backup set has no such table")
ORPHANS = Say(
    "清空 langchain_pg_collection 时必须同时恢复 langchain_pg_embedding",
    "langchain_pg_collection can be emptied together with langchain_pg_embedding only",
)
LOST_TASK = Say(
    "task_id 必须以 task_ 或 manual_ 开头，否则备份将无法被找到",
    "task_id must begin with task_ or manual_, or the backup would not be found again",
)
BAD_CONNECTION = Say(
    "参数 {name} 必须是连接字符串，或包含 host、port、dbname、user、password 的对象",
    "{name} must be a connection string, or an object with host, port, dbname, user, password",
)
TWO_CONNECTIONS = Say(
    "pg_conn 与 db_connection 不一致，请只提供一个",
    "pg_conn and db_connection differ, give one of them",
)
BAD_OPTION = Say("请求参数无效", "a parameter is not valid")

# --- what went wrong ----------------------------------------------------------------------------

NO_LOCATION = Say("备份目录不存在", "no such backup location")
NO_SET = Say("备份文件不存在", "no such backup set")
INCOMPLETE = Say("备份文件不完整，无法恢复", "the backup set is incomplete")
NOT_ALLOWED = Say("不允许使用请求中的数据库连接", "the connection is not allowed")
RUNNING = Say(
    "已有任务正在使用该数据库，请稍后重试", "another job uses the database, try again later"
)
CLOSING = Say("服务正在关闭，请稍后重试", "the service is shutting down, try again later")
UNKNOWN = Say(
    "提交时与数据库的连接中断，操作可能已完成也可能未完成，请先检查数据",
    "the connection was lost during the commit: look at the tables before trying again",
)
NO_CONNECTION = Say(
    "数据库连接失败，请检查连接配置", "no connection to the database, check its settings"
)
BUSY = Say(
    "目标表正被占用，数据未做任何更改，请稍后重试",
    "the tables are in use, nothing has changed, try again later",
)
CHANGED = Say(
    "目标表在操作过程中发生变化，数据未做任何更改，请重试",
    "the tables changed meanwhile, nothing was done to them, try again",
)
MISMATCH = Say(
    "目标数据库不适合此操作，数据未做任何更改",
    "the database does not fit, nothing has changed",
)
REFUSED = Say("数据库操作失败，数据未做任何更改", "the database refused, nothing has changed")
BAD_DATA = Say(
    "备份文件中有无法恢复的数据，数据库未做任何更改",
    "the backup holds data that cannot be restored, nothing has changed",
)
ROW_REFUSED = Say(
    "数据库拒绝了备份中的某一行（可能已存在，可使用 truncate_before_restore），数据库未做任何更改",
    "the database refused a row: it may be there already, which truncate_before_restore solves;"
    " nothing has changed",
)
CALLED_OFF = Say("操作已被取消，数据未做任何更改", "it was called off, nothing has changed")
STORE_CHANGED = Say(
    "备份文件在操作过程中发生变化，数据未做任何更改，请重试",
    "the backup's files changed meanwhile, nothing was restored, try again",
)
STORE_FAILED = Say(
    "备份存储访问失败，请稍后重试", "the storage of the backups failed, try again later"
)
FAILED = Say("操作失败，数据未做任何更改", "it failed, nothing has changed")
INTERNAL = Say("系统发生内部错误", "something went wrong inside the service")
