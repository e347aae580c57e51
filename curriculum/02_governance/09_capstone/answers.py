# The answer bank of lab 2.9: right answers of other kinds, and wrong ones that the checks must catch.

# %% [a] right with_networkx
# Graphs for the copies, frames for the rest; evidence as sets.
from itertools import pairwise

import networkx as nx


def answers(questions, record):
    tables = {name: pd.DataFrame(rows) for name, rows in record.items() if name != "versions"}
    versions = sorted(record["versions"], key=lambda v: v["valid_from_at"])

    def version(at):
        return [v for v in versions if v["valid_from_at"] <= at][-1]

    def open_at(frame, at):
        frame = frame[frame.valid_from_at <= at]
        return frame[frame.valid_to_at.isna() | (frame.valid_to_at > at)]

    def paths(kind, at):
        graph = nx.DiGraph()
        for e in open_at(tables["edges"], at).itertuples():
            graph.add_edge(f"{e.input_table}.{e.input_column}", f"{e.output_table}.{e.output_column}", id=e.id)
        for t in tables["tags"][tables["tags"].kind == kind].itertuples():
            graph.add_edge("start", f"{t.table_name}.{t.column_name}", id=t.id)
        found = nx.single_source_shortest_path(graph, "start")
        return {
            place: [graph.edges[pair]["id"] for pair in pairwise(way)]
            for place, way in found.items()
            if place != "start"
        }

    result = pd.DataFrame(columns=["question_id", "answer", "evidence"])
    for q in questions:
        kind, at = q["kind"], q["from_at"]
        if q["topic"] == "where is":
            ways = paths(kind, at)
            answer, evidence = set(ways), {i for way in ways.values() for i in way}
        elif q["topic"] == "what shows":
            ways, masks = paths(kind, at), tables["masks"]
            kept = masks[(masks.environment == q["environment"]) & (masks["mask"] == "keep")]
            kept = kept.assign(place=kept.table_name + "." + kept.column_name)
            kept = kept[kept.place.isin(list(ways))]
            answer = set(kept.place)
            evidence = set(kept.id) | {i for place in kept.place for i in ways[place]}
        elif q["topic"] == "who could":
            v = version(at)
            mine = open_at(tables["grants"], at)
            mine = mine[mine.role.isin(v["rules"][kind])].drop_duplicates("person_id")
            answer, evidence = {int(p) for p in mine.person_id}, {v["id"], *mine.id}
        elif q["topic"] == "who did":
            log = tables["log"]
            log = log[(log.logged_at >= at) & (log.logged_at < q["until_at"]) & (log.decision == "allowed")]
            log = log[[kind in kinds for kinds in log.kinds]]
            by = {e.seq: version(e.logged_at) for e in log.itertuples()}
            answer = {float(e.seq) for e in log.itertuples() if e.role not in by[e.seq]["rules"][kind]}
            evidence = set(log.id) | {v["id"] for v in by.values()}
        else:
            answer, evidence = [], set()
            for row in record["rows"]:
                if row["subject_id"] == q["subject_id"]:
                    why = [
                        h["id"]
                        for h in record["holds"]
                        if h["subject_id"] == row["subject_id"]
                        and (h["data_class"] or row["data_class"]) == row["data_class"]
                        and h["placed_on"] <= at.date() < (h["lifted_on"] or date.max)
                    ]
                    ended = (row["ends_on"] or date.max) <= at.date()
                    answer.append([row["id"], ("held" if why else "due") if ended else "kept"])
                    evidence |= {row["id"], *(why[:1] if ended else ())}
        result.loc[len(result)] = [q["question_id"], list(answer), sorted(evidence)]
    return result


# %% [a] right by_recursion
# Backwards: is it tagged, and if not, from what is it made?
# - def holding(kind, at, record):
# -     """By column that holds the kind: the rows that show it, from a tag on."""
# -     ways = {(t["table_name"], t["column_name"]): [t["id"]] for t in record["tags"] if t["kind"] == kind}
# -     edges = [e for e in record["edges"] if stands(e, at)]
# -     grown = True
# -     while grown:
# -         new = {}
# -         for e in edges:
# -             source, target = (e["input_table"], e["input_column"]), (e["output_table"], e["output_column"])
# -             if source in ways and target not in ways:
# -                 new[target] = [*ways[source], e["id"]]
# -         grown = bool(new)
# -         ways |= new
# -     return ways
# + def holding(kind, at, record):
# +     tags = {(t["table_name"], t["column_name"]): t["id"] for t in record["tags"] if t["kind"] == kind}
# +     into = {}
# +     for e in record["edges"]:
# +         if stands(e, at):
# +             into.setdefault((e["output_table"], e["output_column"]), []).append(e)
# +     known = {}
# +
# +     def way(place):
# +         if place not in known:
# +             known[place] = [tags[place]] if place in tags else None
# +             for e in into.get(place, []) if known[place] is None else []:
# +                 before = way((e["input_table"], e["input_column"]))
# +                 if before:
# +                     known[place] = [*before, e["id"]]
# +                     break
# +         return known[place]
# +
# +     return {place: way(place) for place in [*tags, *into] if way(place)}
# %% [a] wrong tags_only fails=where_is says="copies left out"
# -     edges = [e for e in record["edges"] if stands(e, at)]
# +     edges = []
# %% [a] wrong one_edge fails=where_is says="missing"
# -         grown = bool(new)
# +         grown = False
# %% [a] wrong edges_of_all_times fails=where_is says="edges of all times"
# -     edges = [e for e in record["edges"] if stands(e, at)]
# +     edges = record["edges"]
# %% [a] wrong todays_edges fails=where_is says="today's edges"
# -     edges = [e for e in record["edges"] if stands(e, at)]
# +     edges = [e for e in record["edges"] if e["valid_to_at"] is None]
# %% [a] wrong end_included fails=who_could says="too many"
# -     return row["valid_from_at"] <= at and (row["valid_to_at"] is None or at < row["valid_to_at"])
# +     return row["valid_from_at"] <= at and (row["valid_to_at"] is None or at <= row["valid_to_at"])
# %% [a] wrong newest_rules fails=who_could says="the newest rules"
# -     return max((v for v in record["versions"] if v["valid_from_at"] <= at), key=lambda v: v["valid_from_at"])
# +     return max(record["versions"], key=lambda v: v["valid_from_at"])
# %% [a] wrong rules_a_moment_late fails=who_could says="answered wrongly"
# -     return max((v for v in record["versions"] if v["valid_from_at"] <= at), key=lambda v: v["valid_from_at"])
# +     return max((v for v in record["versions"] if v["valid_from_at"] < at), key=lambda v: v["valid_from_at"])
# %% [a] wrong until_included fails=who_did says="the end included"
# -         if q["from_at"] <= e["logged_at"] < q["until_at"] and q["kind"] in e["kinds"] and e["decision"] == "allowed":
# +         if q["from_at"] <= e["logged_at"] <= q["until_at"] and q["kind"] in e["kinds"] and e["decision"] == "allowed":
# %% [a] wrong refused_ones_too fails=who_did says="refused ones too"
# -         if q["from_at"] <= e["logged_at"] < q["until_at"] and q["kind"] in e["kinds"] and e["decision"] == "allowed":
# +         if q["from_at"] <= e["logged_at"] < q["until_at"] and q["kind"] in e["kinds"]:
# %% [a] wrong everybody_who_did fails=who_did says="rightful ones too"
# -             if e["role"] not in version["rules"].get(q["kind"], []):
# -                 seen.append(e["seq"])
# +             seen.append(e["seq"])
# %% [a] wrong no_holds fails=what_is_left says="no holds"
# -             if h["subject_id"] == row["subject_id"]
# -             and h["data_class"] in (None, row["data_class"])
# +             if h["subject_id"] is None
# %% [a] wrong holds_of_any_class fails=what_is_left says="holds on any class"
# -             and h["data_class"] in (None, row["data_class"])
# -             and h["placed_on"] <= day
# +             and h["placed_on"] <= day
# %% [a] wrong own_class_only fails=what_is_left says="It looks like this: no holds"
# -             and h["data_class"] in (None, row["data_class"])
# +             and h["data_class"] == row["data_class"]
# %% [a] wrong lifted_counts fails=what_is_left says="answered wrongly"
# -             and (h["lifted_on"] is None or h["lifted_on"] > day)
# +             and (h["lifted_on"] is None or h["lifted_on"] >= day)
# %% [a] wrong due_a_day_later fails=what_is_left says="due a day later"
# -         if row["ends_on"] is None or row["ends_on"] > day:
# +         if row["ends_on"] is None or row["ends_on"] >= day:
# %% [a] wrong partial_shows fails=what_shows says="partial ones too"
# -         if m["environment"] == q["environment"] and m["mask"] == "keep" and place in ways:
# +         if m["environment"] == q["environment"] and m["mask"] in ("keep", "partial") and place in ways:
# %% [a] wrong every_environment fails=what_shows says="too many"
# -         if m["environment"] == q["environment"] and m["mask"] == "keep" and place in ways:
# +         if m["mask"] == "keep" and place in ways:
# %% [a] wrong no_evidence fails=evidence_shows says="does not show"
# -         found.append({"question_id": q["question_id"], "answer": list(answer), "evidence": list(evidence)})
# +         found.append({"question_id": q["question_id"], "answer": list(answer), "evidence": []})
# %% [a] wrong answer_as_evidence fails=evidence_shows says="no row of the record"
# -         found.append({"question_id": q["question_id"], "answer": list(answer), "evidence": list(evidence)})
# +         found.append({"question_id": q["question_id"], "answer": list(answer), "evidence": [str(a) for a in answer]})
# %% [a] wrong last_link_only fails=evidence_shows says="does not show"
# The mask and the last edge, and nothing of what goes before.
# -             evidence |= {m["id"], *ways[place]}
# +             evidence |= {m["id"], ways[place][-1]}
# %% [a] wrong findings_only fails=evidence_shows says="the regulator knows of"
# Only the entries that were wrong: who says that there were no others?
# -             evidence |= {e["id"], version["id"]}
# -             if e["role"] not in version["rules"].get(q["kind"], []):
# -                 seen.append(e["seq"])
# +             if e["role"] not in version["rules"].get(q["kind"], []):
# +                 evidence |= {e["id"], version["id"]}
# +                 seen.append(e["seq"])
# %% [a] wrong holds_not_cited fails=evidence_shows says="does not show"
# -         evidence += [h for h in holds[:1] if h not in evidence]
# +
# %% [a] wrong everything_cited fails=evidence_shows says="sends such boxes back"
# -         found.append({"question_id": q["question_id"], "answer": list(answer), "evidence": list(evidence)})
# +         everything = [row["id"] for rows in record.values() for row in rows]
# +         found.append({"question_id": q["question_id"], "answer": list(answer), "evidence": everything})
# %% [a] wrong all_of_the_list fails=evidence_shows says="sends such boxes back"
# All tags and all edges of the moment, whatever the kind.
# -     return [".".join(place) for place in ways], [way[-1] for way in ways.values()]
# +     edges = [e["id"] for e in record["edges"] if stands(e, q["from_at"])]
# +     return [".".join(place) for place in ways], [t["id"] for t in record["tags"]] + edges
# %% [a] wrong all_edges_between fails=evidence_is_lean says="where is"
# Every edge between columns that hold the kind, and every grant of those persons, whether it is needed or not.
# -     return [".".join(place) for place in ways], [way[-1] for way in ways.values()]
# +     between = [
# +         e["id"]
# +         for e in record["edges"]
# +         if (e["output_table"], e["output_column"]) in ways or (e["input_table"], e["input_column"]) in ways
# +     ]
# +     return [".".join(place) for place in ways], {*between, *(way[-1] for way in ways.values())}
# %% [a] wrong another_version fails=evidence_shows says="the regulator knows of"
# The first version, which may say the same.
# -     return by_person, [version["id"], *by_person.values()]
# +     first = min(record["versions"], key=lambda v: v["valid_from_at"])
# +     return by_person, [first["id"], *by_person.values()]
# %% [a] wrong holds_to_come fails=what_is_left says="held before it was placed"
# -             and h["placed_on"] <= day
# +             and True
# %% [a] wrong any_of_its_kinds fails=who_did says="any of its kinds"
# An entry is faulty if anything about it is.
# -             if e["role"] not in version["rules"].get(q["kind"], []):
# +             if any(e["role"] not in version["rules"].get(k, []) for k in e["kinds"]):
# %% [a] wrong as_the_gateway_says fails=who_did says="the version that the gateway names"
# -             version = in_force(e["logged_at"], record)
# +             version = next(v for v in record["versions"] if v["version"] == e["said_version"])
# %% [a] wrong rules_of_the_beginning fails=who_did says="answered wrongly"
# -             version = in_force(e["logged_at"], record)
# +             version = in_force(q["from_at"], record)
# %% [a] wrong generalised_shows fails=what_shows says="generalised ones too"
# -         if m["environment"] == q["environment"] and m["mask"] == "keep" and place in ways:
# +         if m["environment"] == q["environment"] and m["mask"] in ("keep", "generalise") and place in ways:
# %% [a] wrong shown_today fails=what_shows says="today's edges"
# What an environment shows, it shows today.
# -     ways = holding(q["kind"], q["from_at"], record)
# -     shown, evidence = [], set()
# +     ways = holding(q["kind"], max(e["valid_from_at"] for e in record["edges"]), record)
# +     shown, evidence = [], set()
# %% [a] wrong last_row_is_newest fails=who_could says="answered wrongly"
# -     return max((v for v in record["versions"] if v["valid_from_at"] <= at), key=lambda v: v["valid_from_at"])
# +     return [v for v in record["versions"] if v["valid_from_at"] <= at][-1]
# %% [a] wrong nothing_answered fails=where_is says="answered wrongly"
def answers(questions, record):
    return [{"question_id": q["question_id"], "answer": [], "evidence": []} for q in questions]


# %% [a] wrong some_left_out fails=what_is_left says="has no answer"
def answers(questions, record):
    return []


# %% [b] right tagger_masks_and_access
# Three others of one's own.
# = 2.1 a frames_and_scores


def access_policy(needs, grants, conflicts, today):
    frame = pd.DataFrame(needs)
    ends = pd.to_datetime(frame.valid_until_on)
    holds = frame.legal_basis.notna() & (ends.isna() | (ends >= pd.Timestamp(today)))
    rules = {kind: sorted(set(frame[holds & (frame.kind == kind)].role)) for kind in frame.kind.unique()}
    now = datetime.combine(today, datetime.min.time())
    held = [
        (g["person_id"], g["role"]) for g in grants if g["valid_from_at"] <= now < (g["valid_to_at"] or datetime.max)
    ]
    revoke = set()
    for pair in ((c["role_a"], c["role_b"]) for c in conflicts):
        for person in {p for p, r in held if r == pair[0]} & {p for p, r in held if r == pair[1]}:
            left = {r: {p for p, x in held if x == r and (p, x) not in revoke} for r in pair}
            if all(person in left[r] for r in pair):
                revoke.add((person, max(pair, key=lambda r: len(left[r]))))
    return {
        "rules": pd.DataFrame({"kind": list(rules), "roles": list(rules.values())}),
        "revoke": [{"person_id": p, "role": r} for p, r in revoke],
    }


# = 2.8 b one_table_at_a_time


column_lineage = plan = "reference"
# %% [b] wrong all_borrowed fails=platform_passes says="0 of the five parts are your own"
tag_columns = access_policy = column_lineage = plan = masked_views = "reference"
# %% [b] wrong one_missing fails=platform_passes says="Nothing is decided about plan"
tag_columns = access_policy = column_lineage = masked_views = "reference"
plan = TODO
# %% [b] wrong misspelt fails=platform_passes says="is the text"
tag_columns = access_policy = column_lineage = masked_views = "reference"
plan = "2.6 b"
# %% [b] wrong names_of_columns of=tagger_masks_and_access fails=platform_passes says="are as they should be; 22"
# What a column is called decides what is in it: tags are wrong, and so are the masks that go by them.
# -             if values and isinstance(values[0], str) and len(set(values)) >= min(100, 0.6 * len(values)):
# +             words = {"mail": "email", "phone": "phone", "name": "person_name", "iban": "bank_account", "text": "free_text"}
# +             kind = next((k for word, k in words.items() if word in column), None)
# +             if False:


# -             elif values and hasattr(values[0], "year") and "00:00:00" in str(max(values)):
# +             elif False:
# %% [b] wrong masks_by_names of=tagger_masks_and_access fails=own_parts_hold says="masked_views (lab 2.8"
# A mask where the name of the column says so.
# -             kind = tag.get("privacy.kind")
# +             kind = tag.get("privacy.kind")
# +             tag = tag if kind and kind in column else {"privacy.class": "none"}
# %% [b] wrong needs_are_rules fails=own_parts_hold says="access_policy (lab 2.2"
# Who asked for it gets it.
# -         if n["legal_basis"] and (n["valid_until_on"] is None or n["valid_until_on"] >= today):
# -             rules[n["kind"]].append(n["role"])
# +         rules[n["kind"]].append(n["role"])
# %% [b] wrong nobody_revoked fails=own_parts_hold says="access_policy (lab 2.2"
# Duties are for the next audit.
# -             revoke.append({"person_id": person, "role": role})
# +             pass
# %% [b] wrong union_by_its_first_branch fails=own_parts_hold says="column_lineage (lab 2.5"
# -         return {name: a | b for (name, a), b in zip(left.items(), right.values(), strict=True)}
# +         return left
# %% [b] wrong conditions_flow fails=own_parts_hold says="column_lineage (lab 2.5"
# A condition is an input like others.
# -         deciding = {exp.If: {"this"}, exp.Case: {"this"}, exp.Window: {"partition_by", "order"}}.get(type(node), ())
# +         deciding = ()
# %% [b] wrong held_rows_go fails=own_parts_hold says="plan (lab 2.6"
# -                   and not exists (
# +                   and true or false and not exists (
# %% [b] wrong copies_stay fails=own_parts_hold says="plan (lab 2.6"
# -             if source == table:
# +             if False:
# %% [b] wrong a_stub_of_another_lab fails=platform_passes says="is still the stub"
def plan(con, as_of):
    raise TODO


def access_policy(needs, grants, conflicts, today):
    return {"rules": [], "revoke": []}


def column_lineage(sql, schema):
    return []


tag_columns = masked_views = "reference"
# %% [b] wrong needs_of_last_year fails=own_parts_hold says="access_policy (lab 2.2"
# -         if n["legal_basis"] and (n["valid_until_on"] is None or n["valid_until_on"] >= today):
# +         if n["legal_basis"]:
# %% [b] wrong everybody_revoked fails=own_parts_hold says="access_policy (lab 2.2"
# Both roles of a conflict go: then there is none.
# -             revoke.append({"person_id": person, "role": role})
# +             revoke += [{"person_id": person, "role": r} for r in (c["role_a"], c["role_b"])]
# %% [b] wrong year_ends_forgotten fails=own_parts_hold says="plan (lab 2.6"
# -         start = f"make_date(year(s.{day}), 12, 31)" if counts_from == "year end" else f"s.{day}"
# +         start = f"s.{day}"
# %% [b] wrong births_in_the_clear of=tagger_masks_and_access fails=own_parts_hold says="masked_views (lab 2.8"
# -             if mask == "generalise" and kind == "birth_date":
# -                 sql = f"date_trunc('decade', {c})"
# +             if mask == "generalise" and kind == "birth_date":
# +                 sql = c
# %% [b] wrong tags_looked_up of=tagger_masks_and_access fails=platform_passes says="column_tags"
# The catalogue has the tags already.
# -     staff = con.execute("select full_name from ops.people").df().full_name
# +     return con.execute("from ops.column_tags").df()
# +     staff = con.execute("select full_name from ops.people").df().full_name
# %% [b] wrong one_of_five fails=own_parts_hold says="1 of the five parts"
# - def plan(con, as_of):
# + column_lineage = plan = "reference"
# +
# +
# + def other_plan(con, as_of):

# - def column_lineage(sql, schema):
# + def other_lineage(sql, schema):


# %% [b] wrong the_first_role_goes fails=own_parts_hold says="access_policy (lab 2.2"
# Of two roles in conflict the first goes, whoever else holds it.
# -             role = max((c["role_a"], c["role_b"]), key=lambda r: len(holders[r]))
# +             role = c["role_a"]


# %% [b] wrong the_second_role_goes fails=own_parts_hold says="access_policy (lab 2.2"
# Of two roles in conflict the second goes.
# -             role = max((c["role_a"], c["role_b"]), key=lambda r: len(holders[r]))
# +             role = c["role_b"]


# %% [b] wrong months_have_28_days fails=own_parts_hold says="plan (lab 2.6"
# So that each month has the day.
# -                   and {start} + to_months($months) <= $as_of
# +                   and ({start} + to_months($months)
# +                     - to_days(greatest(0, day({start} + to_months($months)) - 28)::integer))::date <= $as_of


# %% [b] wrong quasi_in_the_clear of=tagger_masks_and_access fails=own_parts_hold says="masked_views (lab 2.8"
# A town is nobody.
# -             kind = tag.get("privacy.kind")
# +             kind = tag.get("privacy.kind")
# +             tag = {"privacy.class": "none"} if tag.get("privacy.class") == "quasi" else tag
