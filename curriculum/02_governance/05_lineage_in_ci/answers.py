# The answer bank of 2.5. Each cell stands in for the task's cell of the lab.

# %% [a] right upwards_from_each_column
# Goes through all columns of an expression and asks of each, on its way up, whether something on the way decides.
import pandas as pd


def column_lineage(sql, schema):
    by_column, rows = resolve(qualified(sql, schema), schema, {})
    made = [(c, t, n, "DIRECT") for c, flow in by_column.items() for t, n in flow["direct"]]
    made += [(c, t, n, "INDIRECT") for c, flow in by_column.items() for t, n in flow["indirect"] | rows]
    return pd.DataFrame(made, columns=["output_column", "input_table", "input_column", "kind"])


def resolve(scope, schema, around):
    if isinstance(scope.expression, exp.SetOperation):
        branches = [resolve(s, schema, around) for s in scope.set_operation_scopes]
        merged = {}
        for name, *others in zip(branches[0][0], *(b[0].values() for b in branches), strict=True):
            merged[name] = {k: set().union(*(o[k] for o in others)) for k in ("direct", "indirect")}
        return merged, set().union(*(b[1] for b in branches))
    here, rows = dict(around), set()
    for alias, (_, source) in scope.selected_sources.items():
        if isinstance(source, exp.Table):
            table = f"{source.db}.{source.name}"
            here[alias] = {c: {"direct": {(table, c)}, "indirect": set()} for c in schema[table]}
        else:
            here[alias], inner_rows = resolve(source, schema, around)
            rows |= inner_rows
    inner = {id(s.expression): s for s in scope.subquery_scopes}

    def decides(node, top):
        while node is not top:
            parent = node.parent
            if isinstance(parent, exp.Case) and node.arg_key == "this":
                return True
            if isinstance(parent, exp.If) and node.arg_key == "this":
                return True
            if isinstance(parent, exp.Filter) and node.arg_key == "expression":
                return True
            if isinstance(parent, exp.Window) and node.arg_key != "this":
                return True
            node = parent
        return False

    def parts(top):
        """Columns and subqueries below, subqueries not entered."""
        todo = [top]
        while todo:
            node = todo.pop()
            if isinstance(node, exp.Column) or id(node) in inner:
                yield node
            else:
                todo += [c for c in node.iter_expressions()]

    def read(top, outputs):
        direct, indirect = set(), set()
        for node in parts(top):
            if id(node) in inner:
                columns, its_rows = resolve(inner[id(node)], schema, here)
                flow = {"direct": set(), "indirect": set(its_rows)}
                for other in columns.values():
                    flow["direct"] |= other["direct"]
                    flow["indirect"] |= other["indirect"]
            else:
                flow = here[node.table][node.name] if node.table else outputs[node.name]
            if decides(node, top):
                indirect |= flow["direct"] | flow["indirect"]
            else:
                direct |= flow["direct"]
                indirect |= flow["indirect"]
        return {"direct": direct, "indirect": indirect}

    select = scope.expression
    outputs = {item.alias_or_name: read(item, {}) for item in select.selects}
    conditions = [select.args.get(k) for k in ("where", "group", "having", "qualify", "order")]
    conditions += [j.args.get("on") for j in select.args.get("joins") or ()]
    for condition in conditions:
        if condition is not None:
            flow = read(condition, outputs)
            rows |= flow["direct"] | flow["indirect"]
    return outputs, rows


# %% [a] right tuples_and_own_parsing
# The reference's walk with rows as tuples, and the statement parsed without the helper.
# -     columns, rows = _flows(qualified(sql, schema), schema)
# -     return [
# -         {"output_column": column, "input_table": table, "input_column": name, "kind": kind}
# +     trees = [tree for tree in sqlglot.parse(sql, read="duckdb") if tree is not None]
# +     if len(trees) != 1:
# +         raise SyntaxError("one query is expected")
# +     nested = {}
# +     for table, its in schema.items():
# +         nested.setdefault(table.split(".")[0], {})[table.split(".")[1]] = dict(its)
# +     columns, rows = _flows(build_scope(qualify(trees[0], schema=nested, dialect="duckdb")), schema)
# +     return [
# +         (column, table, name, kind)

# - # Parts of a node that decide, and do not flow into its value.
# + import sqlglot
# +


# %% [a] wrong tables_only fails=direct_edges says="too many"
# Knows which tables are read, and says that all of their columns go into all columns.
def column_lineage(sql, schema):
    root = qualified(sql, schema)
    tables = {f"{t.db}.{t.name}" for t in root.expression.find_all(exp.Table) if t.db}
    return [
        (item.alias_or_name, table, column, "DIRECT")
        for item in root.expression.selects
        for table in tables
        for column in schema[table]
    ]


# %% [a] wrong filters_are_direct fails=direct_edges says="A clause that decides about rows gives no values"
# Whatever a statement reads is its source, keys and filters included.
# -         for kind, refs in (("DIRECT", direct), ("INDIRECT", indirect | rows))
# +         for kind, refs in (("DIRECT", direct | rows), ("INDIRECT", indirect))


# %% [a] wrong choices_are_direct fails=direct_edges says="with case, if or filter"
# As sqlglot's own lineage has it: every column below an expression is an input alike. Windows have been thought of.
# - DECIDING = {exp.Case: {"this"}, exp.If: {"this"}, exp.Filter: {"expression"}, exp.Window: {"partition_by", "order"}}
# + DECIDING = {exp.Window: {"partition_by", "order"}}


# %% [a] wrong windows_are_direct fails=direct_edges says="with a window"
# Conditions have been thought of, windows have not.
# - DECIDING = {exp.Case: {"this"}, exp.If: {"this"}, exp.Filter: {"expression"}, exp.Window: {"partition_by", "order"}}
# + DECIDING = {exp.Case: {"this"}, exp.If: {"this"}, exp.Filter: {"expression"}}


# %% [a] wrong first_branch_only fails=direct_edges says="with union all"
# A UNION has the columns of its first branch.
# -         return {name: (a[0] | b[0], a[1] | b[1]) for (name, a), b in pairs}, left_rows | right_rows
# +         return {name: a for (name, a), _ in pairs}, left_rows | right_rows


# %% [a] wrong star_is_a_column fails=direct_edges says="are missing"
# Columns that come through a star of the outermost select are named nowhere, and so not found.
# -         for column, (direct, indirect) in columns.items()
# +         for column, (direct, indirect) in columns.items()
# +         if column in {item.alias_or_name for item in parse_one(sql, dialect="duckdb").selects}


# %% [a] wrong rows_end_at_the_cte fails=indirect_edges says="INDIRECT edges"
# What decides about the rows of a CTE is forgotten by the SELECT that reads from it.
# -             rows |= known[alias][1]


# %% [a] wrong joins_do_not_count fails=indirect_edges says="INDIRECT edges"
# Filters and groups decide, keys of joins do not.
# -     for clause in clauses + joins:
# +     for clause in clauses:


# %% [a] wrong filters_do_not_count fails=indirect_edges says="INDIRECT edges"
# Keys and groups decide, conditions on rows do not.
# -     clauses = [scope.expression.args.get(k) for k in ("where", "group", "having", "qualify", "order")]
# +     clauses = [scope.expression.args.get(k) for k in ("group", "having", "qualify", "order")]


# %% [a] wrong direct_alone fails=indirect_edges says="INDIRECT edges"
# Only values are lineage.
# -         for kind, refs in (("DIRECT", direct), ("INDIRECT", indirect | rows))
# +         for kind, refs in (("DIRECT", direct),)


# %% [a] wrong empty_for_unread fails=unread_is_an_error says="instead of raising"
# The build must not break because of a parser.
# -     columns, rows = _flows(qualified(sql, schema), schema)
# +     try:
# +         columns, rows = _flows(qualified(sql, schema), schema)
# +     except Exception:
# +         return []


# %% [a] wrong unknown_table_is_fine fails=unread_is_an_error says="instead of raising"
# The parser complains of what it does not know: of a table whose columns nobody names it does not.
# -         elif f"{source.db}.{source.name}" not in schema:
# -             raise ValueError(f"there is no table {source.db}.{source.name}")


# %% [b] right what_all_share_stands_once
# INDIRECT edges of all columns go into the facet's dataset; a static uuid of the client's; one input field an edge.
from openlineage.client.uuid import generate_static_uuid


def emit(deployment, edges, client):
    begin = datetime.fromisoformat(deployment["started_at"])
    end = datetime.fromisoformat(deployment["deployed_at"])
    run = str(generate_static_uuid(begin, str(deployment["deployment_id"]).encode()))

    def job():
        return event_v2.Job(
            JOB_NAMESPACE,
            deployment["table"],
            {
                "sql": facet_v2.sql_job.SQLJobFacet(deployment["sql"]),
                "sourceCodeLocation": facet_v2.source_code_location_job.SourceCodeLocationJobFacet(
                    "git", deployment["url"], version=deployment["git_sha"], path=deployment["table"]
                ),
                "jobType": facet_v2.job_type_job.JobTypeJobFacet("BATCH", "DUCKDB", "MODEL"),
            },
        )

    made = event_v2.OutputDataset(DATASET_NAMESPACE, deployment["table"])
    client.emit(
        event_v2.RunEvent(
            eventTime=begin.isoformat(),
            run=event_v2.Run(run),
            job=job(),
            eventType=event_v2.RunState.START,
            producer="https://git.kestrel.example/platform/build",
            outputs=[made],
        )
    )
    if edges is None:
        said = facet_v2.error_message_run.ErrorMessageRunFacet(f"lineage: {deployment['error']}", "SQL")
        client.emit(
            event_v2.RunEvent(
                eventTime=end.isoformat(),
                run=event_v2.Run(run, {"errorMessage": said}),
                job=job(),
                eventType=event_v2.RunState.FAIL,
            )
        )
        return
    lineage = facet_v2.column_lineage_dataset
    names = [c["name"] for c in deployment["columns"]]
    readers = {}
    for e in edges:
        readers.setdefault((e["input_table"], e["input_column"], e["kind"]), set()).add(e["output_column"])
    shared = [k for k, v in readers.items() if k[2] == "INDIRECT" and v == set(names)]

    def given(key):
        return lineage.InputField(DATASET_NAMESPACE, key[0], key[1], [lineage.Transformation(key[2], "OTHER")])

    fields = {n: lineage.Fields([given(k) for k, v in readers.items() if n in v and k not in shared]) for n in names}
    kind = facet_v2.schema_dataset.SchemaDatasetFacetFields
    facets = {
        "schema": facet_v2.schema_dataset.SchemaDatasetFacet(
            [kind(c["name"], c["type"]) for c in deployment["columns"]]
        ),
        "columnLineage": lineage.ColumnLineageDatasetFacet(fields, [given(k) for k in shared]),
    }
    client.emit(
        event_v2.RunEvent(
            eventTime=end.isoformat(),
            run=event_v2.Run(run),
            job=job(),
            eventType=event_v2.RunState.COMPLETE,
            inputs=[event_v2.InputDataset(DATASET_NAMESPACE, t) for t in {e["input_table"] for e in edges}],
            outputs=[event_v2.OutputDataset(DATASET_NAMESPACE, deployment["table"], facets=facets)],
        )
    )


# %% [b] right md5_of_the_deployment
# Another way to an id that follows from the deployment.
# -     run_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{JOB_NAMESPACE}/{deployment['deployment_id']}"))
# +     import hashlib
# +
# +     run_id = str(uuid.UUID(hashlib.md5(f"deployment {deployment['deployment_id']}".encode()).hexdigest()))


# %% [b] wrong a_new_run_each_time fails=events_are_valid says="run id"
# Every event gets a fresh uuid.
# -     run_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{JOB_NAMESPACE}/{deployment['deployment_id']}"))

# -                 run=event_v2.Run(runId=run_id, facets=run_facets or {}),
# +                 run=event_v2.Run(runId=str(uuid.uuid4()), facets=run_facets or {}),


# %% [b] wrong a_new_run_each_attempt fails=events_are_valid says="called twice"
# One uuid for both events; the repeated step draws another.
# -     run_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{JOB_NAMESPACE}/{deployment['deployment_id']}"))
# +     run_id = str(uuid.uuid4())


# %% [b] wrong one_run_a_table fails=events_are_valid says="has the run id of the first"
# The id follows from the table: each deployment overwrites the one before.
# -     run_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{JOB_NAMESPACE}/{deployment['deployment_id']}"))
# +     run_id = str(uuid.uuid5(uuid.NAMESPACE_URL, deployment["table"]))


# %% [b] wrong time_of_emission fails=events_are_valid says="has the time"
# The clock's time.
# -                 eventTime=at,
# +                 eventTime=datetime.now().astimezone().isoformat(),


# %% [b] wrong time_without_offset fails=events_are_valid says="date-time"
# Everybody here means UTC.
# -                 eventTime=at,
# +                 eventTime=datetime.fromisoformat(at).replace(tzinfo=None).isoformat(),


# %% [b] wrong complete_alone fails=events_are_valid says="START and COMPLETE are expected"
# What has begun is of no interest.
# -     send(event_v2.RunState.START, deployment["started_at"])


# %% [b] wrong kinds_left_out fails=facets_say_what_stands says="not handed in"
# Input fields without transformations.
# -                 facet.InputField(DATASET_NAMESPACE, table, name, [facet.Transformation(type=k) for k in found])
# +                 facet.InputField(DATASET_NAMESPACE, table, name)


# %% [b] wrong tables_alone fails=facets_say_what_stands says="lacks"
# Inputs and outputs say which table comes from which.
# -             "columnLineage": facet.ColumnLineageDatasetFacet(fields=fields),


# %% [b] wrong columns_without_types fails=facets_say_what_stands says="schema facet"
# Columns as far as the lineage knows them.
# -                 fields=[about.SchemaDatasetFacetFields(name=c["name"], type=c["type"]) for c in deployment["columns"]]
# +                 fields=[about.SchemaDatasetFacetFields(name=c) for c in fields]


# %% [b] wrong one_kind_for_each_pair fails=facets_say_what_stands says="lacks"
# A pair that is DIRECT and INDIRECT is written as what came last.
# -         of_column.setdefault((edge["input_table"], edge["input_column"]), []).append(edge["kind"])
# +         of_column[edge["input_table"], edge["input_column"]] = [edge["kind"]]


# %% [b] wrong no_commit fails=jobs_name_the_commit says="sourceCodeLocation"
# The statement is evidence enough.
# -                     facets={"sql": statement, "sourceCodeLocation": location},
# +                     facets={"sql": statement},


# %% [b] wrong no_statement fails=jobs_name_the_commit says="no facet sql"
# The commit is evidence enough.
# -                     facets={"sql": statement, "sourceCodeLocation": location},
# +                     facets={"sourceCodeLocation": location},


# %% [b] wrong unread_is_complete fails=failures_are_said says="START and FAIL are expected"
# The deployment went well, only its lineage is not known.
# -     if edges is None:
# -         reason = facet_v2.error_message_run.ErrorMessageRunFacet(deployment["error"], programmingLanguage="SQL")
# -         send(event_v2.RunState.FAIL, deployment["deployed_at"], {"errorMessage": reason})
# -         return
# +     edges = edges or []


# %% [b] wrong unread_is_silent fails=failures_are_said says="START and FAIL are expected"
# Nothing is known, so nothing is said.
# -         reason = facet_v2.error_message_run.ErrorMessageRunFacet(deployment["error"], programmingLanguage="SQL")
# -         send(event_v2.RunState.FAIL, deployment["deployed_at"], {"errorMessage": reason})
# -         return
# +         return


# %% [b] wrong fails_without_a_reason fails=failures_are_said says="the reason is"
# FAIL says it all.
# -         send(event_v2.RunState.FAIL, deployment["deployed_at"], {"errorMessage": reason})
# +         send(event_v2.RunState.FAIL, deployment["deployed_at"])


# %% [c] right sets_of_edges
# Both sides as sets under new names; what is left over goes back to the old names. The question is a recursion.
def current(events, until=None):
    done = [e for e in events if e["eventType"] == "COMPLETE"]
    done.sort(key=lambda e: datetime.fromisoformat(e["eventTime"]))
    tables = {}
    for e in done:
        if until is None or datetime.fromisoformat(e["eventTime"]) <= datetime.fromisoformat(until):
            tables.update(read_outputs(e))
    return tables


def gate(before, after, declared):
    was, now = current(before), current(after)
    new_table, new_column = {}, {}
    gone_columns, gone_tables, gone_inputs = set(), set(), set()
    for d in declared:
        match d["action"]:
            case "rename_table":
                new_table[d["table"]] = d["to"]
            case "rename_column":
                new_column[d["table"], d["column"]] = d["to"]
            case "drop_table":
                gone_tables.add(d["table"])
            case "drop_column":
                gone_columns.add((d["table"], d["column"]))
            case "drop_input":
                gone_inputs.add((d["table"], d["column"], d["input_table"], d["input_column"]))
    old_table = {v: k for k, v in new_table.items()}
    problems = {}
    for e in after:
        name = e["job"]["name"]
        if e["eventType"] == "FAIL" and name not in now:
            problems[old_table.get(name, name), None] = "failed"
    for table, output in now.items():
        if not output.edges:
            problems[old_table.get(table, table), None] = "empty"
    for table, output in was.items():
        target = new_table.get(table, table)
        if target not in now:
            if table not in gone_tables:
                problems[table, None] = "missing"
            continue
        if not now[target].edges:
            continue
        have = {(c,) for c in now[target].columns} | set(now[target].edges)
        for column in output.columns:
            if (table, column) in gone_columns:
                continue
            mine = new_column.get((table, column), column)
            need = {(mine,)}
            for c, source, field, kind in output.edges:
                if (
                    c != column
                    or (table, c, source, field) in gone_inputs
                    or (table, None, source, field) in gone_inputs
                ):
                    continue
                need.add((mine, new_table.get(source, source), new_column.get((source, field), field), kind))
            if need - have:
                problems[table, column] = "lost"
    return [{"table": t, "column": c, "why": why} for (t, c), why in problems.items()]


def sources_as_of(events, table, column, at):
    tables = current(events, at)

    def back(t, c, path):
        if t not in tables:
            return {(t, c)} if path else set()
        if (t, c) in path:
            return set()
        found = set()
        for out, source, field, kind in tables[t].edges:
            if out == c and kind == "DIRECT":
                found |= back(source, field, path | {(t, c)})
        return found

    return [{"table": t, "column": c} for t, c in back(table, column, frozenset())]


# %% [c] right as_a_set_of_pairs
# The reference, with pairs in any order.
# -     return sorted(found)
# +     return [[t, c] for t, c in reversed(sorted(found))]

# -     return [{"table": table, "column": column} for table, column in found]
# +     return [{"column": column, "table": table} for table, column in dict.fromkeys(found)]


# %% [c] wrong everything_passes fails=gate_decides says="let a build pass"
# A gate that stops what was not read, and nothing else.
# -     return [{"table": table, "column": column} for table, column in found]
# +     return [{"table": table, "column": column} for table, column in found if column is None]


# %% [c] wrong columns_only fails=gate_decides says="let a build pass"
# A column that is still there has lost nothing.
# -             lost = name not in is_now.columns or any(
# -                 (name, *now(source, field), kind) not in is_now.edges
# -                 for of, source, field, kind in was.edges
# -                 if of == column and not {(table, c, source, field) for c in (column, None)} & unread
# -             )
# +             lost = name not in is_now.columns


# %% [c] wrong any_declaration fails=gate_decides says="let a build pass"
# Whoever declares something has thought of everything.
# -         if table in broken or tables.get(table, table) not in new:
# +         if table in broken or declared or tables.get(table, table) not in new:


# %% [c] wrong renames_are_losses fails=gate_decides says="stopped a build that may pass"
# Names of columns are compared as they are.
# -         return tables.get(table, table), renames.get((table, column), column)
# +         return table, column


# %% [c] wrong inputs_keep_their_names fails=gate_decides says="stopped a build that may pass"
# A rename concerns the table in which it happens.
# -                 (name, *now(source, field), kind) not in is_now.edges
# +                 (name, source, field, kind) not in is_now.edges


# %% [c] wrong renames_one_after_the_other fails=gate_decides says="stopped a build that may pass"
# Each rename is applied to what the one before has left.
# -         return tables.get(table, table), renames.get((table, column), column)
# +         for (of, old_name), new_name in renames.items():
# +             if of == table and column == old_name:
# +                 column = new_name
# +         return tables.get(table, table), column


# %% [c] wrong kinds_do_not_matter fails=gate_decides says="a value that is now a condition"
# An edge is a pair of columns.
# -                 (name, *now(source, field), kind) not in is_now.edges
# +                 (name, *now(source, field)) not in {e[:3] for e in is_now.edges}


# %% [c] wrong first_event_counts fails=gate_decides says="stopped a build that may pass"
# Whatever a table had at any time counts as its lineage.
# -     old, new = standing(before), standing(after)
# +     old, new = standing(before), standing(after)
# +     for e in before:
# +         for t, o in read_outputs(e).items():
# +             old[t] = o


# %% [c] wrong empty_passes fails=empty_never_passes says="nothing was read"
# What is not there cannot be compared.
# -     found = [(table, None) for table in broken]
# +     broken, found = set(), []

# -         is_now = new[tables.get(table, table)]
# +         is_now = new[tables.get(table, table)]
# +         if not is_now.edges:
# +             continue


# %% [c] wrong declared_empty_passes fails=empty_never_passes says="nothing was read"
# An empty lineage is a loss like any other, and can be declared.
# -     broken = {former.get(t, t) for t in failed | {t for t, output in new.items() if not output.edges}}
# +     empty = {t for t, output in new.items() if not output.edges}
# +     broken = {former.get(t, t) for t in failed | (empty if not declared else set())}


# %% [c] wrong stops_and_does_not_say fails=gate_names_the_loss says="it named"
# The table is named, its columns are not.
# -     return [{"table": table, "column": column} for table, column in found]
# +     return [{"table": table, "column": None} for table in {t for t, _ in found}]


# %% [c] wrong names_what_is_new fails=gate_names_the_loss says="it named"
# Columns are named as they are called after the build.
# -                 found.append((table, column))
# +                 found.append((table, column))
# +                 found += [(table, c) for c in is_now.columns if c not in was.columns]


# %% [c] wrong last_wins fails=as_of_answers says="came back"
# The newest event of a table says what is.
# -     known = standing(events, datetime.fromisoformat(at))
# +     known = standing(events)


# %% [c] wrong order_of_the_file fails=as_of_answers says="came back"
# Events are taken in the order in which they stand in the list.
# -                 if table not in last or moment > last[table][0]:
# -                     last[table] = (moment, output)
# +                 last[table] = (moment, output)


# %% [c] wrong times_as_text fails=as_of_answers says="came back"
# Texts of times sort like times.
# -         moment = datetime.fromisoformat(event["eventTime"])
# +         moment = event["eventTime"]

# -     known = standing(events, datetime.fromisoformat(at))
# +     known = standing(events, at)


# %% [c] wrong one_step_back fails=as_of_answers says="came back"
# The table that is read is the source.
# -         if here[0] not in known:
# +         if here != (table, column):


# %% [c] wrong conditions_feed fails=as_of_answers says="came back"
# Whatever has an edge has fed the column.
# -         todo += [(t, c) for of, t, c, kind in known[here[0]].edges if of == here[1] and kind == "DIRECT"]
# +         todo += [(t, c) for of, t, c, kind in known[here[0]].edges if of == here[1]]


# %% [c] wrong up_to_and_not_at fails=as_of_answers says="came back"
# A deployment counts from the moment after it.
# -         if event["eventType"] == "COMPLETE" and (at is None or moment <= at):
# +         if event["eventType"] == "COMPLETE" and (at is None or moment < at):
