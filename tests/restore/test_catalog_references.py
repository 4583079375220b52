"""Every catalog that can refer to a table, and what a swap makes of it: a new one fails here."""

from __future__ import annotations

from pgvector_restore.db.embedded import EmbeddedServer
from tests.restore.content import query

CARRIED = "carried"
BLOCKS = "blocks"
NO_MATTER = "does not matter"

#: Columns that refer to relations, columns, row types or parts: what becomes of them, and why.
REFERENCES = {
    "pg_aggregate(aggmtranstype)": (BLOCKS, "pg_depend has it: a function depends on the row type"),
    "pg_aggregate(aggtranstype)": (BLOCKS, "pg_depend has it"),
    "pg_amop(amoplefttype)": (BLOCKS, "pg_depend has it: an operator depends on the row type"),
    "pg_amop(amoprighttype)": (BLOCKS, "pg_depend has it"),
    "pg_amproc(amproclefttype)": (BLOCKS, "pg_depend has it"),
    "pg_amproc(amprocrighttype)": (BLOCKS, "pg_depend has it"),
    "pg_attrdef(adrelid)": (CARRIED, "LIKE INCLUDING DEFAULTS, GENERATED"),
    "pg_attrdef(adrelid,adnum)": (CARRIED, "LIKE INCLUDING DEFAULTS, GENERATED"),
    "pg_attribute(attrelid)": (CARRIED, "LIKE, and statements for options and privileges"),
    "pg_attribute(atttypid)": (BLOCKS, "pg_depend has it: a column has the row type"),
    "pg_cast(castsource)": (BLOCKS, "pg_depend has it: a cast of the row type"),
    "pg_cast(casttarget)": (BLOCKS, "pg_depend has it"),
    "pg_class(reloftype)": (BLOCKS, "a typed table"),
    "pg_class(relrewrite)": (NO_MATTER, "only while a table is rewritten, under its lock"),
    "pg_class(reltoastrelid)": (CARRIED, "made with the table; its options by a statement"),
    "pg_class(reltype)": (CARRIED, "made with the table; its comment and labels by statements"),
    "pg_constraint(confrelid)": (BLOCKS, "keys of tables outside of the restore"),
    "pg_constraint(confrelid,confkey)": (BLOCKS, "the same"),
    "pg_constraint(conindid)": (CARRIED, "the constraint makes its index"),
    "pg_constraint(conparentid)": (BLOCKS, "partitions and what is partitioned"),
    "pg_constraint(conrelid)": (CARRIED, "ALTER TABLE … ADD CONSTRAINT"),
    "pg_constraint(conrelid,conkey)": (CARRIED, "ALTER TABLE … ADD CONSTRAINT"),
    "pg_constraint(contypid)": (BLOCKS, "pg_depend has it: a domain over the row type"),
    "pg_depend(classid)": (BLOCKS, "whatever depends on the table, its row type or a sequence"),
    "pg_depend(refclassid)": (BLOCKS, "extensions that the table, or a part of it, depends on"),
    "pg_description(classoid)": (CARRIED, "COMMENT ON the table and all its parts"),
    "pg_enum(enumtypid)": (NO_MATTER, "no row type is an enum"),
    "pg_extension(extconfig)": (BLOCKS, "the extension dumps its rows"),
    "pg_foreign_table(ftrelid)": (NO_MATTER, "a foreign table is not restored into"),
    "pg_index(indexrelid)": (CARRIED, "CREATE INDEX"),
    "pg_index(indrelid)": (CARRIED, "CREATE INDEX"),
    "pg_index(indrelid,indkey)": (CARRIED, "CREATE INDEX"),
    "pg_inherits(inhparent)": (BLOCKS, "tables that inherit from it"),
    "pg_inherits(inhrelid)": (BLOCKS, "what it inherits from"),
    "pg_init_privs(classoid)": (BLOCKS, "only a member of an extension has them"),
    "pg_opclass(opcintype)": (BLOCKS, "pg_depend has it"),
    "pg_opclass(opckeytype)": (BLOCKS, "pg_depend has it"),
    "pg_operator(oprleft)": (BLOCKS, "pg_depend has it"),
    "pg_operator(oprresult)": (BLOCKS, "pg_depend has it"),
    "pg_operator(oprright)": (BLOCKS, "pg_depend has it"),
    "pg_partitioned_table(partdefid)": (BLOCKS, "partitions and what is partitioned"),
    "pg_partitioned_table(partrelid)": (BLOCKS, "partitions and what is partitioned"),
    "pg_partitioned_table(partrelid,partattrs)": (BLOCKS, "partitions and what is partitioned"),
    "pg_policy(polrelid)": (CARRIED, "CREATE POLICY"),
    "pg_proc(proallargtypes)": (BLOCKS, "pg_depend has it: an argument has the row type"),
    "pg_proc(proargtypes)": (BLOCKS, "pg_depend has it"),
    "pg_proc(prorettype)": (BLOCKS, "pg_depend has it"),
    "pg_proc(protrftypes)": (BLOCKS, "pg_depend has it"),
    "pg_proc(provariadic)": (BLOCKS, "pg_depend has it"),
    "pg_publication_rel(prrelid)": (BLOCKS, "subscribers would keep the old rows, or stop"),
    "pg_range(rngmultitypid)": (NO_MATTER, "no row type is a multirange"),
    "pg_range(rngsubtype)": (BLOCKS, "pg_depend has it"),
    "pg_range(rngtypid)": (NO_MATTER, "no row type is a range"),
    "pg_rewrite(ev_class)": (BLOCKS, "rules on it; what rules and views read is in pg_depend"),
    "pg_seclabel(classoid)": (CARRIED, "SECURITY LABEL; without its provider it blocks"),
    "pg_sequence(seqrelid)": (CARRIED, "serial ones live on; identity ones are made alike"),
    "pg_sequence(seqtypid)": (NO_MATTER, "no row type counts"),
    "pg_shdepend(classid)": (CARRIED, "owners and privileges, by statements"),
    "pg_shdepend(refclassid)": (NO_MATTER, "what is depended on is a role or a tablespace"),
    "pg_shdescription(classoid)": (NO_MATTER, "of databases, roles and tablespaces"),
    "pg_shseclabel(classoid)": (NO_MATTER, "of databases, roles and tablespaces"),
    "pg_statistic(starelid)": (NO_MATTER, "ANALYZE gathers them of the new rows"),
    "pg_statistic(starelid,staattnum)": (NO_MATTER, "ANALYZE gathers them of the new rows"),
    "pg_statistic_ext(stxrelid)": (CARRIED, "CREATE STATISTICS"),
    "pg_statistic_ext(stxrelid,stxkeys)": (CARRIED, "CREATE STATISTICS"),
    "pg_statistic_ext_data(stxoid)": (NO_MATTER, "ANALYZE gathers them of the new rows"),
    "pg_subscription_rel(srrelid)": (BLOCKS, "the subscription would lose the table"),
    "pg_transform(trftype)": (BLOCKS, "pg_depend has it"),
    "pg_trigger(tgconstraint)": (CARRIED, "CREATE CONSTRAINT TRIGGER, or with its constraint"),
    "pg_trigger(tgconstrindid)": (CARRIED, "with the foreign key"),
    "pg_trigger(tgconstrrelid)": (BLOCKS, "a constraint trigger elsewhere: pg_depend has it"),
    "pg_trigger(tgparentid)": (BLOCKS, "partitions and what is partitioned"),
    "pg_trigger(tgrelid)": (CARRIED, "CREATE TRIGGER; those of keys that are disabled block"),
    "pg_trigger(tgrelid,tgattr)": (CARRIED, "CREATE TRIGGER … UPDATE OF"),
    "pg_type(typarray)": (CARRIED, "made with the table"),
    "pg_type(typbasetype)": (BLOCKS, "pg_depend has it: a domain over the row type"),
    "pg_type(typelem)": (CARRIED, "made with the table"),
    "pg_type(typrelid)": (CARRIED, "made with the table"),
}

#: Columns of catalogs that hold numbers of objects without saying of which catalog, or none of
#: other rows at all. Their class is a column of the list above.
LOOSE = {
    "pg_class.relfilenode": "the table's file, which is a new one",
    "pg_depend.objid": "pg_depend(classid)",
    "pg_depend.refobjid": "pg_depend(refclassid)",
    "pg_description.objoid": "pg_description(classoid)",
    "pg_init_privs.objoid": "pg_init_privs(classoid)",
    "pg_replication_origin.roident": "of a subscription, not of a table",
    "pg_seclabel.objoid": "pg_seclabel(classoid)",
    "pg_shdepend.objid": "pg_shdepend(classid)",
    "pg_shdepend.refobjid": "pg_shdepend(refclassid)",
    "pg_shdescription.objoid": "pg_shdescription(classoid)",
    "pg_shseclabel.objoid": "pg_shseclabel(classoid)",
}

#: What the server itself says of its catalogs.
_REFERENCES = """
SELECT DISTINCT format('%s(%s)', fktable, array_to_string(fkcols, ','))
FROM pg_get_catalog_foreign_keys()
WHERE pktable IN ('pg_class'::regclass, 'pg_type', 'pg_attribute', 'pg_attrdef', 'pg_constraint',
                  'pg_index', 'pg_policy', 'pg_publication_rel', 'pg_rewrite', 'pg_sequence',
                  'pg_statistic_ext', 'pg_trigger')
"""
_LOOSE = """
SELECT c.relname || '.' || a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.relkind = 'r' AND a.attnum > 0
  AND a.atttypid IN ('oid'::regtype, 'oid[]'::regtype, 'oidvector'::regtype, 'regclass'::regtype,
                     'regclass[]'::regtype)
  AND a.attname <> 'oid'
  AND NOT EXISTS (SELECT FROM pg_get_catalog_foreign_keys() f
                  WHERE f.fktable = c.oid AND a.attname = ANY (f.fkcols))
  -- what is no part of the server would be a table of an extension
  AND c.oid < 16384
"""


def test_every_reference_is_known(server: EmbeddedServer) -> None:
    found = {row[0] for row in query(server.conninfo, _REFERENCES)}
    assert found == set(REFERENCES)
    assert {row[0] for row in query(server.conninfo, _LOOSE)} == set(LOOSE)


def test_every_fate_has_a_reason() -> None:
    for fate, reason in REFERENCES.values():
        assert fate in (CARRIED, BLOCKS, NO_MATTER)
        assert reason
