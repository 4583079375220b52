# ruff: noqa: RUF001 - Chinese text is written with Chinese punctuation
"""An invented webshop: its tables, and what an assistant for its database was taught about them."""

from __future__ import annotations

import json
from typing import NamedTuple

__all__ = ["Table", "ddl", "documentation", "error_sql", "sql"]


class Table(NamedTuple):
    """One table of the shop."""

    name: str
    #: The table's name in Chinese.
    title: str
    #: One English sentence: what a row is.
    about: str
    #: Name, type and Chinese comment of each column.
    columns: list[list[str]]


#: A paragraph per table: name, title, meaning; then ``name type comment`` of each column.
_TABLES = """\
customer | 客户 | A person with an account in the shop.
    id bigint 主键; email text 邮箱; name text 姓名; city text 城市;
    joined_on date 注册日期

customer_address | 客户地址 | Where a customer wants parcels or invoices.
    id bigint 主键; customer_id bigint 客户; street text 街道; city text 城市;
    is_default boolean 默认

category | 商品分类 | A node in the tree of product categories.
    id bigint 主键; parent_id bigint 上级分类; name text 分类名称; position integer 排序

product | 商品 | An article for sale, with its list price.
    id bigint 主键; category_id bigint 商品分类; name text 商品名称;
    list_price numeric(10,2) 标价

price_history | 商品价格历史 | The list price of a product from one day on.
    product_id bigint 商品; valid_from date 生效日期; list_price numeric(10,2) 标价

supplier | 供应商 | A company that delivers products to our warehouses.
    id bigint 主键; name text 供应商名称; country text 国家; lead_days integer 交货天数

supplier_product | 供应商商品 | Which supplier delivers which product, and at what cost.
    supplier_id bigint 供应商; product_id bigint 商品; cost numeric(10,2) 进价

warehouse | 仓库 | A building that holds stock.
    id bigint 主键; name text 仓库名称; city text 城市; capacity integer 容量

stock | 库存 | How many pieces of a product a warehouse holds.
    warehouse_id bigint 仓库; product_id bigint 商品; quantity integer 库存数量

stock_movement | 库存变动 | Pieces that came into a warehouse or left it.
    id bigint 主键; warehouse_id bigint 仓库; product_id bigint 商品;
    quantity integer 变动数量; moved_at timestamptz 变动时间

cart | 购物车 | What a visitor collects before ordering.
    id bigint 主键; customer_id bigint 客户; created_at timestamptz 创建时间

cart_item | 购物车明细 | One product in a cart.
    cart_id bigint 购物车; product_id bigint 商品; quantity integer 数量

sales_order | 订单 | A binding order of a customer.
    id bigint 主键; customer_id bigint 客户; ordered_at timestamptz 下单时间;
    status text 订单状态

order_item | 订单明细 | One product of an order at the price agreed.
    order_id bigint 订单; product_id bigint 商品; quantity integer 数量;
    unit_price numeric(10,2) 单价

payment | 付款 | Money received for an order.
    id bigint 主键; order_id bigint 订单; method text 付款方式;
    amount numeric(10,2) 付款金额; paid_at timestamptz 付款时间

refund | 退款 | Money given back for a payment.
    id bigint 主键; payment_id bigint 付款; amount numeric(10,2) 退款金额;
    reason text 退款原因

carrier | 快递公司 | A company that carries our parcels.
    id bigint 主键; name text 快递公司名称; tracking_url text 查询网址

shipment | 发货 | A parcel that left a warehouse for an order.
    id bigint 主键; order_id bigint 订单; carrier_id bigint 快递公司;
    shipped_at timestamptz 发货时间; delivered_at timestamptz 签收时间

coupon | 优惠券 | A code that lowers the price of an order.
    code text 优惠码; percent numeric(4,1) 折扣; valid_until date 有效期

review | 商品评价 | Stars and words of a customer about a product.
    id bigint 主键; product_id bigint 商品; customer_id bigint 客户; stars smallint 星级;
    body text 评价
"""

#: The tables somebody wrote a page about, with what the columns do not say.
_NOTES = {
    "customer": "An account is never deleted, only emptied: name and e-mail go, the id stays.",
    "category": "The tree is at most four levels deep.\nA root has no parent_id.",
    "product": '"List price" includes VAT; what was paid stands in order_item.unit_price.',
    "supplier": "lead_days counts working days, from order to the warehouse's gate.",
    "warehouse": "仓库“华东一号”也处理退货。\nReturned goods are counted before they are stock.",
    "stock": "quantity is never negative; it is the sum of stock_movement.",
    "cart": "A cart older than 30 days counts as abandoned, 购物车不会自动清空。",
    "sales_order": "status is one of 'new', 'paid', 'shipped', 'closed', 'cancelled'.",
    "payment": "method is 'card', 'wallet' or 'invoice'; an order may have several payments.",
    "refund": "退款金额不得超过付款金额。\nA refund names its reason in the customer's own words.",
    "shipment": "delivered_at is NULL while the parcel is on its way 🚚 or when it is lost.",
    "review": 'stars runs from 1 to 5; the body may hold line breaks, "quotes" and emoji 🙂.',
}

#: A paragraph per pair: the question in the first line, then the SQL that answers it.
_SQL = """\
How many customers joined in each city?
SELECT city, count(*) FROM customer GROUP BY city

每个城市有多少客户？
SELECT city AS 城市, count(*) AS 客户数 FROM customer GROUP BY city

Which customers have no default address?
SELECT c.name FROM customer c
WHERE NOT EXISTS (SELECT FROM customer_address a WHERE a.customer_id = c.id AND a.is_default)

Which products are in the category "Garden"?
SELECT p.name FROM product p
JOIN category k ON k.id = p.category_id WHERE k.name = 'Garden'

标价最高的十个商品是哪些？
SELECT name, list_price FROM product ORDER BY list_price DESC LIMIT 10

What did product 17 cost at the start of the year?
SELECT list_price FROM price_history
WHERE product_id = 17 AND valid_from <= '2026-01-01' ORDER BY valid_from DESC LIMIT 1

Which supplier has the shortest lead time?
SELECT name FROM supplier ORDER BY lead_days LIMIT 1

Which products come from two or more suppliers?
SELECT product_id FROM supplier_product
GROUP BY product_id HAVING count(*) > 1

每个仓库的库存数量是多少？
SELECT w.name AS 仓库, sum(s.quantity) AS 库存数量 FROM stock s
JOIN warehouse w ON w.id = s.warehouse_id GROUP BY w.name

Which products are out of stock in every warehouse?
SELECT product_id FROM stock
GROUP BY product_id HAVING sum(quantity) = 0

How much stock moved yesterday, by warehouse?
SELECT warehouse_id, sum(abs(quantity))
FROM stock_movement WHERE moved_at::date = current_date - 1 GROUP BY warehouse_id

How many carts were abandoned?
SELECT count(*) FROM cart WHERE created_at < now() - interval '30 days'

Which products lie in carts most often?
SELECT product_id, count(*) FROM cart_item
GROUP BY product_id ORDER BY 2 DESC

How many orders were placed each month?
SELECT date_trunc('month', ordered_at), count(*)
FROM sales_order GROUP BY 1 ORDER BY 1

每个月有多少订单？
SELECT date_trunc('month', ordered_at) AS 月份, count(*) AS 订单数
FROM sales_order GROUP BY 1 ORDER BY 1

What is the revenue by product?
SELECT product_id, sum(quantity * unit_price) FROM order_item
GROUP BY product_id

Which customers ordered more than 1,000 worth of goods?
SELECT o.customer_id FROM sales_order o
JOIN order_item i ON i.order_id = o.id
GROUP BY 1 HAVING sum(i.quantity * i.unit_price) > 1000

各付款方式的付款金额是多少？
SELECT method AS 付款方式, sum(amount) AS 付款金额 FROM payment GROUP BY method

Which orders are not paid yet?
SELECT o.id FROM sales_order o
LEFT JOIN payment p ON p.order_id = o.id WHERE p.id IS NULL

What was refunded, by reason?
SELECT reason, sum(amount) FROM refund GROUP BY reason

How long does each carrier take to deliver a parcel?
SELECT c.name, avg(s.delivered_at - s.shipped_at)
FROM shipment s JOIN carrier c ON c.id = s.carrier_id GROUP BY c.name

哪些发货还没有签收？
SELECT id, shipped_at AS 发货时间 FROM shipment WHERE delivered_at IS NULL

Which coupons are still valid?
SELECT code, percent FROM coupon WHERE valid_until >= current_date

Which products have 4.5 stars or more?
SELECT product_id, avg(stars) FROM review
GROUP BY product_id HAVING avg(stars) >= 4.5
"""

#: The same, with SQL the database rejected or somebody marked as wrong.
_ERRORS = """\
How many customers joined in each city?
SELECT town, count(*) FROM customer GROUP BY town

标价最高的商品是哪个？
SELECT name, max(list_price) FROM product

What is the revenue by product?
SELECT product_id, sum(price) FROM order_item GROUP BY 1

Which orders are not paid yet?
SELECT id FROM sales_order WHERE paid = 'no'

每个仓库的库存数量是多少？
SELECT warehouse, sum(quantity) FROM stock GROUP BY warehouse

Which customer's review is the longest?
SELECT customer FROM review ORDER BY len(body) DESC

Which shipments came late?
SELECT id FROM shipment WHERE delivered_at > 'promised'

What was refunded this week?
SELECT sum("refund") FROM refund WHERE week = now()
"""


def ddl() -> list[str]:
    """Return one commented CREATE TABLE statement per table."""
    return [_create(table) for table in _tables()]


def documentation() -> list[str]:
    """Return one page of Markdown for each table that has notes."""
    return [_page(table, _NOTES[table.name]) for table in _tables() if table.name in _NOTES]


def sql() -> list[str]:
    """Return questions with the SQL that answers them, as JSON objects."""
    return [_pair(paragraph) for paragraph in _SQL.strip().split("\n\n")]


def error_sql() -> list[str]:
    """Return questions with SQL that is wrong, as JSON objects."""
    return [_pair(paragraph) for paragraph in _ERRORS.strip().split("\n\n")]


def _tables() -> list[Table]:
    return [_table(paragraph) for paragraph in _TABLES.strip().split("\n\n")]


def _table(paragraph: str) -> Table:
    head, body = paragraph.split("\n", 1)
    name, title, about = head.split(" | ")
    return Table(name, title, about, [column.split() for column in body.split(";")])


def _create(table: Table) -> str:
    columns = [f"  -- {comment}\n  {name} {kind}" for name, kind, comment in table.columns]
    body = ",\n".join(columns)
    return f"-- {table.title}: {table.about}\nCREATE TABLE {table.name} (\n{body}\n);"


def _page(table: Table, note: str) -> str:
    columns = "\n".join(f"- `{name}`: {comment}" for name, _, comment in table.columns)
    return f"## {table.name}（{table.title}）\n\n{table.about} {note}\n\n{columns}"


def _pair(paragraph: str) -> str:
    question, statement = paragraph.split("\n", 1)
    return json.dumps({"question": question, "sql": statement}, ensure_ascii=False)
