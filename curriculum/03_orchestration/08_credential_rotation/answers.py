# The answer bank of 3.8. Each cell stands in for the task's cell of the lab.

# %% [a] right explicit_states
# A record for each account says how far it is; each step is done before the record moves on.
class Rotator:
    def __init__(self, platform, overlap_s):
        self.p, self.overlap_s = platform, overlap_s

    def rotate(self, account_id, rotation_id, now_s):
        done = self.p.store.get("done", [])
        if rotation_id in done:
            return
        work = self.p.store.get("work", {})
        if account_id not in work or work[account_id]["cause"] != rotation_id:
            work[account_id] = {"cause": rotation_id, "state": "issue", "asked": []}
            self.p.store.put("work", work)
        self.step(account_id, now_s)

    def leaked(self, account_id, version, now_s):
        cause = f"leak of {version}"
        cases = self.p.store.get("cases", {})
        case = cases.get(f"{account_id}/{version}")
        if case is None:
            row = next(v for v in self.p.vault.versions(account_id) if v["version"] == version)
            if row["revoked_at_s"] is not None:
                return
            newest = max(v["version"] for v in self.p.vault.versions(account_id))
            last = {}
            for call in self.p.log.calls(account_id):
                if call["status"] in (200, 503):
                    last[call["caller_id"]] = call["version"]
            case = {"replace": newest == version, "told": False, "callers": [c for c in last if last[c] == version]}
            cases[f"{account_id}/{version}"] = case
            self.p.store.put("cases", cases)
        self.p.vault.revoke(account_id, version)
        if not case["told"]:
            for caller in case["callers"]:
                self.p.desk.tell(account_id, caller, "leaked, read the new version")
            case["told"] = True
            cases[f"{account_id}/{version}"] = case
            self.p.store.put("cases", cases)
        if case["replace"]:
            work = self.p.store.get("work", {})
            if account_id not in work or work[account_id]["cause"] != cause:
                work[account_id] = {"cause": cause, "state": "issue", "asked": []}
                self.p.store.put("work", work)
        self.step(account_id, now_s)

    def tick(self, now_s):
        for account_id in sorted(self.p.store.get("work", {})):
            self.step(account_id, now_s)

    def step(self, account_id, now_s):
        work = self.p.store.get("work", {})
        item = work.get(account_id)
        if item is None:
            return
        if item["state"] == "issue":
            item["new"] = self.p.vault.issue(account_id, account_id + " " + item["cause"])["version"]
            item["state"] = "deliver"
            self.p.store.put("work", work)
        if item["state"] == "deliver":
            if not self.p.vault.works(account_id, item["new"]):
                return
            self.p.vault.deliver(account_id, item["new"])
            item["state"] = "verify"
            self.p.store.put("work", work)
        if item["state"] == "verify":
            rows = {v["version"]: v for v in self.p.vault.versions(account_id)}
            old = [n for n, v in rows.items() if n != item["new"] and v["revoked_at_s"] is None]
            retired = self.p.desk.retired(account_id)
            last = {}
            for call in self.p.log.calls(account_id):
                if call["status"] != 401 and call["caller_id"] not in retired:
                    last[call["caller_id"]] = call["version"]
            late = sorted(c for c in last if last[c] in old)
            if late:
                if now_s - rows[item["new"]]["issued_at_s"] >= self.overlap_s:
                    for caller in late:
                        if caller not in item["asked"]:
                            self.p.desk.escalate(account_id, caller)
                            item["asked"].append(caller)
                            self.p.store.put("work", work)
                return
            for number in old:
                self.p.vault.revoke(account_id, number)
            self.p.store.put("done", [*self.p.store.get("done", []), item["cause"]])
            del work[account_id]
            self.p.store.put("work", work)


# %% [a] right looks_at_every_account
# Nothing is kept but a list of accounts and whom it has asked: each tick compares what is with what should be.
class Rotator:
    def __init__(self, platform, overlap_s):
        self.platform = platform
        self.overlap_s = overlap_s

    def rotate(self, account_id, rotation_id, now_s):
        p = self.platform
        p.store.put(f"seen/{account_id}", 1)
        p.store.put("accounts", sorted({*p.store.get("accounts", []), account_id}))
        p.vault.issue(account_id, f"rotation:{rotation_id}")

    def leaked(self, account_id, version, now_s):
        p = self.platform
        mine = p.store.get("leaks", {})
        name = f"{account_id}#{version}"
        if name not in mine:
            alive = sorted(v["version"] for v in p.vault.versions(account_id) if not v["revoked_at_s"])
            if version not in alive:
                return
            calls = [c for c in p.log.calls(account_id, now_s - 35 * 86_400) if c["status"] < 400 or c["status"] >= 500]
            latest = {c["caller_id"]: c["version"] for c in sorted(calls, key=lambda c: c["at_s"])}
            mine[name] = [version == alive[-1], sorted(k for k, v in latest.items() if v == version)]
            p.store.put("leaks", mine)
        p.store.put("accounts", sorted({*p.store.get("accounts", []), account_id}))
        replace, affected = mine[name]
        p.vault.revoke(account_id, version)
        if replace:
            p.vault.issue(account_id, f"leak:{name}")
        for caller in affected:
            p.desk.tell(account_id, caller, "your version has leaked")

    def tick(self, now_s):
        for account_id in self.platform.store.get("accounts", []):
            self.compare(account_id, now_s)

    def compare(self, account_id, now_s):
        p = self.platform
        *old, new = [v for v in p.vault.versions(account_id) if v["revoked_at_s"] is None]
        if new["delivered_at_s"] is None and p.vault.works(account_id, new["version"]):
            p.vault.deliver(account_id, new["version"])
        if not old:
            return
        latest = {c["caller_id"]: c["version"] for c in p.log.calls(account_id) if c["status"] != 401}
        gone = p.desk.retired(account_id)
        waiting = [c for c, v in latest.items() if v < new["version"] and c not in gone]
        if not waiting:
            for v in old:
                p.vault.revoke(account_id, v["version"])
            return
        if now_s >= new["issued_at_s"] + self.overlap_s:
            asked = p.store.get(f"asked/{account_id}/{new['version']}", [])
            for caller in waiting:
                if caller not in asked:
                    p.desk.escalate(account_id, caller)
                    asked.append(caller)
                    p.store.put(f"asked/{account_id}/{new['version']}", asked)


# %% [a] right what_is_valid
# What vault and log say, in as few words as it takes; wrong answers are edits of this one.
class Rotator:
    def __init__(self, platform, overlap_s):
        self.vault, self.log, self.desk, self.store = platform.vault, platform.log, platform.desk, platform.store
        self.overlap_s = overlap_s

    def rotate(self, account_id, rotation_id, now_s):
        self.note(account_id)
        self.vault.issue(account_id, rotation_id)
        self.work(account_id, now_s)

    def leaked(self, account_id, version, now_s):
        key = f"leak {account_id} {version}"
        case = self.store.get(key)
        if case is None:
            valid = self.valid(account_id)
            if version not in valid:
                return
            case = [version == max(valid), [c for c, v in self.last(account_id).items() if v == version]]
            self.store.put(key, case)
        self.note(account_id)
        if case[0]:
            self.vault.issue(account_id, f"leak {account_id} {version}")
        self.vault.revoke(account_id, version)
        for caller in case[1]:
            self.desk.tell(account_id, caller, "leaked: read the new version")
        self.work(account_id, now_s)

    def tick(self, now_s):
        for account_id in self.store.get("accounts", []):
            self.work(account_id, now_s)

    def note(self, account_id):
        accounts = self.store.get("accounts", [])
        if account_id not in accounts:
            self.store.put("accounts", [*accounts, account_id])

    def valid(self, account_id):
        return {v["version"]: v for v in self.vault.versions(account_id) if v["revoked_at_s"] is None}

    def last(self, account_id):
        return {c["caller_id"]: c["version"] for c in self.log.calls(account_id) if c["status"] != 401}

    def work(self, account_id, now_s):
        valid = self.valid(account_id)
        new = max(valid)
        if valid[new]["delivered_at_s"] is None:
            if not self.vault.works(account_id, new):
                return
            self.vault.deliver(account_id, new)
        old = [v for v in valid if v != new]
        if not old:
            return  # nothing to do: the log need not be read
        gone = self.desk.retired(account_id)
        behind = [c for c, v in self.last(account_id).items() if v in old and c not in gone]
        if not behind:
            for v in old:
                self.vault.revoke(account_id, v)
        elif now_s >= valid[new]["issued_at_s"] + self.overlap_s:
            for c in behind:
                asked = self.store.get(f"asked {account_id} {new}", [])
                if c not in asked:
                    self.desk.escalate(account_id, c)
                    self.store.put(f"asked {account_id} {new}", [*asked, c])


# %% [a] right told_before_revoked of=what_is_valid
# No note of who is to be told: they are told first, so a rerun that finds the version revoked has nothing left to do.
# -         key = f"leak {account_id} {version}"
# -         case = self.store.get(key)
# -         if case is None:
# -             valid = self.valid(account_id)
# -             if version not in valid:
# -                 return
# -             case = [version == max(valid), [c for c, v in self.last(account_id).items() if v == version]]
# -             self.store.put(key, case)
# -         self.note(account_id)
# -         if case[0]:
# -             self.vault.issue(account_id, f"leak {account_id} {version}")
# -         self.vault.revoke(account_id, version)
# -         for caller in case[1]:
# -             self.desk.tell(account_id, caller, "leaked: read the new version")
# +         valid = self.valid(account_id)
# +         if version not in valid:
# +             return
# +         self.note(account_id)
# +         if version == max(valid):
# +             issued = self.vault.issue(account_id, f"leak {account_id} {version}")
# +             print(account_id, "has version", issued["version"])
# +         for caller, used in self.last(account_id).items():
# +             if used == version:
# +                 self.desk.tell(account_id, caller, f"version {version} has leaked: read the new one")
# +         self.vault.revoke(account_id, version)


# %% [a] wrong revoked_at_the_bound of=what_is_valid fails=rotations_lose_no_call says="still called with it"
# Revokes when the bound is reached, as the calendar says.
# -         gone = self.desk.retired(account_id)
# -         behind = [c for c, v in self.last(account_id).items() if v in old and c not in gone]
# -         if not behind:
# +         if now_s >= valid[new]["issued_at_s"] + self.overlap_s:

# -         elif now_s >= valid[new]["issued_at_s"] + self.overlap_s:
# -             for c in behind:
# -                 asked = self.store.get(f"asked {account_id} {new}", [])
# -                 if c not in asked:
# -                     self.desk.escalate(account_id, c)
# -                     self.store.put(f"asked {account_id} {new}", [*asked, c])


# %% [a] wrong one_caller_is_proof of=what_is_valid fails=rotations_lose_no_call says="still called with it"
# The new version has been used, so it is verified.
# -         gone = self.desk.retired(account_id)
# -         behind = [c for c, v in self.last(account_id).items() if v in old and c not in gone]
# -         if not behind:
# +         moved = [c for c, v in self.last(account_id).items() if v == new]
# +         if moved or now_s > valid[new]["issued_at_s"] + self.overlap_s:

# -         elif now_s >= valid[new]["issued_at_s"] + self.overlap_s:
# -             for c in behind:
# -                 asked = self.store.get(f"asked {account_id} {new}", [])
# -                 if c not in asked:
# -                     self.desk.escalate(account_id, c)
# -                     self.store.put(f"asked {account_id} {new}", [*asked, c])


# %% [a] wrong quiet_for_a_day of=what_is_valid fails=rotations_lose_no_call says="still called with it"
# Nobody used the old version for a day: then nobody needs it. A weekly caller is forgotten.
# -         old = [v for v in valid if v != new]
# +         old = [v for v in valid if v != new]
# +         recent = {c["caller_id"]: c["version"] for c in self.log.calls(account_id, now_s - 86400) if c["status"] != 401}

# -         behind = [c for c, v in self.last(account_id).items() if v in old and c not in gone]
# +         behind = [c for c, v in recent.items() if v in old and c not in gone]
# +         if now_s < valid[new]["issued_at_s"] + 86400:
# +             return


# %% [a] wrong delivered_before_it_works of=what_is_valid fails=rotations_lose_no_call says="did not work before"
# Delivers in the moment of issuing.
# -             if not self.vault.works(account_id, new):
# -                 return


# %% [a] wrong only_200_counts of=what_is_valid fails=rotations_lose_no_call says="busy, but accepted"
# Takes 503 for a refusal: a caller that always finds the API busy seems to need no version.
# -         return {c["caller_id"]: c["version"] for c in self.log.calls(account_id) if c["status"] != 401}
# +         return {c["caller_id"]: c["version"] for c in self.log.calls(account_id) if c["status"] == 200}


# %% [a] wrong overlap_for_ever of=what_is_valid fails=overlap_ends says="never revoked"
# Rotates, and leaves the old version valid in case somebody needs it.
# -             for v in old:
# -                 self.vault.revoke(account_id, v)
# +             return


# %% [a] wrong stuck_caller_counts of=what_is_valid fails=overlap_ends says="refused whatever you do"
# Any call with a version that is not the new one is in the way, refused or not.
# -         return {c["caller_id"]: c["version"] for c in self.log.calls(account_id) if c["status"] != 401}
# +         return {c["caller_id"]: c["version"] for c in self.log.calls(account_id)}

# -         behind = [c for c, v in self.last(account_id).items() if v in old and c not in gone]
# +         behind = [c for c, v in self.last(account_id).items() if v != new and c not in gone]

# -                 if c not in asked:
# +                 if c not in asked and self.last(account_id)[c] in old:


# %% [a] wrong stuck_caller_escalated of=what_is_valid fails=overlap_ends says="did not need version"
# Escalates stuck callers too, whose version was revoked long ago.
# -         return {c["caller_id"]: c["version"] for c in self.log.calls(account_id) if c["status"] != 401}
# +         return {c["caller_id"]: c["version"] for c in self.log.calls(account_id)}

# -         behind = [c for c, v in self.last(account_id).items() if v in old and c not in gone]
# +         behind = [c for c, v in self.last(account_id).items() if v != new and c not in gone]


# %% [a] wrong retired_never_asked of=what_is_valid fails=overlap_ends says="not asked at the next two ticks"
# Waits until the log shows all callers on the new version, and asks nobody.
# -         elif now_s >= valid[new]["issued_at_s"] + self.overlap_s:
# -             for c in behind:
# -                 asked = self.store.get(f"asked {account_id} {new}", [])
# -                 if c not in asked:
# -                     self.desk.escalate(account_id, c)
# -                     self.store.put(f"asked {account_id} {new}", [*asked, c])


# %% [a] wrong retired_not_read of=what_is_valid fails=overlap_ends says="is retired, as its owner has said"
# Escalates, and does not read the answer.
# -         gone = self.desk.retired(account_id)
# -         behind = [c for c, v in self.last(account_id).items() if v in old and c not in gone]
# +         behind = [c for c, v in self.last(account_id).items() if v in old]


# %% [a] wrong asks_at_every_tick of=what_is_valid fails=overlap_ends says="more than once"
# Escalates at every tick until the caller has moved.
# -                 asked = self.store.get(f"asked {account_id} {new}", [])
# -                 if c not in asked:
# -                     self.desk.escalate(account_id, c)
# -                     self.store.put(f"asked {account_id} {new}", [*asked, c])
# +                 self.desk.escalate(account_id, c)


# %% [a] wrong asks_at_once of=what_is_valid fails=overlap_ends says="until then a caller may"
# Escalates all callers as soon as the new version is delivered.
# -         elif now_s >= valid[new]["issued_at_s"] + self.overlap_s:
# +         else:


# %% [a] wrong leak_is_rotated of=what_is_valid fails=leaks_are_cut_off says="the version was revoked"
# A leak is a rotation ahead of schedule, with the usual overlap.
# -         key = f"leak {account_id} {version}"
# -         case = self.store.get(key)
# -         if case is None:
# -             valid = self.valid(account_id)
# -             if version not in valid:
# -                 return
# -             case = [version == max(valid), [c for c, v in self.last(account_id).items() if v == version]]
# -             self.store.put(key, case)
# -         self.note(account_id)
# -         if case[0]:
# -             self.vault.issue(account_id, f"leak {account_id} {version}")
# -         self.vault.revoke(account_id, version)
# -         for caller in case[1]:
# -             self.desk.tell(account_id, caller, "leaked: read the new version")
# -         self.work(account_id, now_s)
# +         if version in self.valid(account_id):
# +             self.note(account_id)
# +             if version == max(self.valid(account_id)):
# +                 self.vault.issue(account_id, f"leak {account_id} {version}")
# +             for caller in [c for c, v in self.last(account_id).items() if v == version]:
# +                 self.desk.tell(account_id, caller, "leaked: read the new version")
# +             self.work(account_id, now_s)


# %% [a] wrong only_200_is_affected of=what_is_valid fails=leaks_are_cut_off says="had not been told"
# Tells those whose latest call went well: who found the API busy is refused from now on, and not told.
# -             case = [version == max(valid), [c for c, v in self.last(account_id).items() if v == version]]
# +             well = [c for c in self.log.calls(account_id) if c["status"] == 200]
# +             last = {c["caller_id"]: c["version"] for c in well}
# +             case = [version == max(valid), [c for c, v in last.items() if v == version]]


# %% [a] wrong callers_ever_seen of=what_is_valid fails=leaks_are_cut_off says="though not affected"
# Whoever called with the version in the last 35 days counts as affected, moved or not.
# -             case = [version == max(valid), [c for c, v in self.last(account_id).items() if v == version]]
# +             case = [
# +                 version == max(valid),
# +                 sorted(
# +                     {
# +                         c["caller_id"]
# +                         for c in self.log.calls(account_id)
# +                         if c["version"] == version and c["status"] != 401
# +                     }
# +                 ),
# +             ]


# %% [a] wrong nobody_is_told of=what_is_valid fails=leaks_are_cut_off says="had not been told"
# Revokes and replaces; callers will see.
# -             case = [version == max(valid), [c for c, v in self.last(account_id).items() if v == version]]
# +             case = [version == max(valid), []]


# %% [a] wrong replaces_every_time of=what_is_valid fails=leaks_are_cut_off says="new version(s)"
# Issues a replacement for every leak, also of a version that was on its way out.
# -             valid = self.valid(account_id)
# -             if version not in valid:
# +             if version not in self.valid(account_id):

# -             case = [version == max(valid), [c for c, v in self.last(account_id).items() if v == version]]
# +             case = [c for c, v in self.last(account_id).items() if v == version]

# -         if case[0]:
# -             self.vault.issue(account_id, f"leak {account_id} {version}")
# +         self.vault.issue(account_id, key)

# -         for caller in case[1]:
# +         for caller in case:


# %% [a] wrong random_request of=what_is_valid fails=crashes_are_survived says="versions were issued"
# A fresh request id for each request.
# - # What vault and log say, in as few words as it takes; wrong answers are edits of this one.
# + # What vault and log say, in as few words as it takes; wrong answers are edits of this one.
# + import uuid
# +
# +

# -         self.vault.issue(account_id, rotation_id)
# +         self.vault.issue(account_id, str(uuid.uuid4()))

# -             self.vault.issue(account_id, f"leak {account_id} {version}")
# +             self.vault.issue(account_id, str(uuid.uuid4()))


# %% [a] wrong kept_in_the_object of=what_is_valid fails=crashes_are_survived says="never"
# Accounts with work under way are an attribute of the object.
# -         self.overlap_s = overlap_s
# +         self.overlap_s = overlap_s
# +         self.accounts = []

# -         for account_id in self.store.get("accounts", []):
# +         for account_id in self.accounts:

# -         accounts = self.store.get("accounts", [])
# -         if account_id not in accounts:
# -             self.store.put("accounts", [*accounts, account_id])
# +         if account_id not in self.accounts:
# +             self.accounts.append(account_id)


# %% [a] wrong kept_in_the_class of=what_is_valid fails=crashes_are_survived says="kept from another platform"
# Accounts with work under way are an attribute of the class, which outlives objects but no machine.
# - class Rotator:
# + class Rotator:
# +     accounts = []
# +

# -         for account_id in self.store.get("accounts", []):
# +         for account_id in self.accounts:

# -         accounts = self.store.get("accounts", [])
# -         if account_id not in accounts:
# -             self.store.put("accounts", [*accounts, account_id])
# +         if account_id not in self.accounts:
# +             self.accounts.append(account_id)


# %% [a] wrong noted_before_done of=what_is_valid fails=crashes_are_survived says="never escalated"
# Notes that it has asked, then asks.
# -                 if c not in asked:
# +                 if c not in asked:
# +                     self.store.put(f"asked {account_id} {new}", [*asked, c])

# -                     self.store.put(f"asked {account_id} {new}", [*asked, c])


# %% [a] wrong revoked_means_done of=what_is_valid fails=crashes_are_survived says="had not been told"
# A leaked version that is revoked has been dealt with, or so it believes after the restart.
# -         key = f"leak {account_id} {version}"
# -         case = self.store.get(key)
# -         if case is None:
# -             valid = self.valid(account_id)
# -             if version not in valid:
# -                 return
# -             case = [version == max(valid), [c for c, v in self.last(account_id).items() if v == version]]
# -             self.store.put(key, case)
# +         valid = self.valid(account_id)
# +         if version not in valid:
# +             return
# +         affected = [c for c, v in self.last(account_id).items() if v == version]

# -         if case[0]:
# +         if version == max(valid):

# -         for caller in case[1]:
# +         for caller in affected:


# %% [a] wrong printed_for_debugging of=what_is_valid fails=secrets_stay_in_the_vault says="printed or logged"
# A print that was to be removed.
# -         self.vault.issue(account_id, rotation_id)
# +         self.vault.issue(account_id, rotation_id)
# +         print("new credential of", account_id, self.vault.secret(account_id, max(self.valid(account_id))))


# %% [a] wrong logged_with_the_object of=what_is_valid fails=secrets_stay_in_the_vault says="printed or logged"
# A debug line that logs all it knows, and it knows the secret.
# - # What vault and log say, in as few words as it takes; wrong answers are edits of this one.
# + # What vault and log say, in as few words as it takes; wrong answers are edits of this one.
# + import logging
# +
# +

# -         self.vault.issue(account_id, rotation_id)
# +         self.vault.issue(account_id, rotation_id)
# +         new = max(self.valid(account_id))
# +         logging.getLogger("rotator").debug("delivering %s", {"version": new, "key": self.vault.secret(account_id, new)})


# %% [a] wrong answer_kept_whole of=explicit_states fails=secrets_stay_in_the_vault says="in the store"
# Keeps what the vault has answered in the record of the work: the secret is in it.
# -             item["new"] = self.p.vault.issue(account_id, account_id + " " + item["cause"])["version"]
# +             item["new"] = self.p.vault.issue(account_id, account_id + " " + item["cause"])

# -             if not self.p.vault.works(account_id, item["new"]):
# +             if not self.p.vault.works(account_id, item["new"]["version"]):

# -             self.p.vault.deliver(account_id, item["new"])
# +             self.p.vault.deliver(account_id, item["new"]["version"])

# -             old = [n for n, v in rows.items() if n != item["new"] and v["revoked_at_s"] is None]
# +             old = [n for n, v in rows.items() if n != item["new"]["version"] and v["revoked_at_s"] is None]

# -                 if now_s - rows[item["new"]]["issued_at_s"] >= self.overlap_s:
# +                 if now_s - rows[item["new"]["version"]]["issued_at_s"] >= self.overlap_s:


# %% [a] wrong secret_in_the_message of=what_is_valid fails=secrets_stay_in_the_vault says="a message to an owner"
# Sends the new secret along, to save the owner a step.
# -             self.vault.issue(account_id, f"leak {account_id} {version}")
# -         self.vault.revoke(account_id, version)
# +             self.vault.issue(account_id, key)
# +         self.vault.revoke(account_id, version)
# +         new = max(self.valid(account_id))

# -             self.desk.tell(account_id, caller, "leaked: read the new version")
# +             self.desk.tell(account_id, caller, f"leaked; the new one is {self.vault.secret(account_id, new)}")


# %% [a] wrong secret_in_a_table of=what_is_valid fails=secrets_stay_in_the_vault says="in the table"
# Writes an audit table, secret included.
# -         self.vault.issue(account_id, rotation_id)
# +         self.vault.issue(account_id, rotation_id)
# +         new = max(self.valid(account_id))
# +         lab.con.execute(
# +             "create temp table if not exists rotations (account_id varchar, version integer, secret varchar)"
# +         )
# +         lab.con.execute("insert into rotations values (?, ?, ?)", [account_id, new, self.vault.secret(account_id, new)])


# %% [b] right searched_with_the_kit
# Estimates go into the simulation; a few periods and bounds are compared for each class.
def policy(con):
    import numpy as np

    rows = []
    accounts = con.sql("select * from ops.api_accounts").df()
    leaks = con.sql(
        "select class, count(*) as n from ops.credential_leaks join ops.api_accounts using (account_id) group by 1"
    )
    leaks = dict(leaks.fetchall())
    lags = con.sql("""
        select a.class, v.account_id, v.version, c.caller_id, epoch(min(c.called_at) - any_value(v.delivered_at)) / 86400 as lag
        from ops.credential_versions v join ops.api_calls c using (account_id, version)
        join ops.api_accounts a using (account_id)
        where c.status_code = 200 and v.delivered_at between timestamp '2026-02-12' and timestamp '2026-05-28'
        group by all
    """).df()
    for name, mine in accounts.groupby("class"):
        lag = lags[lags["class"] == name].lag.clip(lower=0.01)
        usual = np.log(lag[lag < 30])
        about = {
            "class": name,
            "accounts": len(mine),
            "callers_per_account": 2.3,
            "lag_median_days": float(np.exp(usual.median())),
            "lag_sigma": float(usual.std()),
            "laggard_share": float((lag >= 30).mean()),
            "leaks_per_year": leaks[name] / (2 * len(mine)),
            "found_share": 0.5,
            "found_median_days": 8.0,
        }
        found = []
        for period in (7, 10, 14, 20, 28, 40, 56, 80, 110, 160, 220):
            for bound in (1, 2, 4, 7, 10, 14, 20, 28):
                if bound < period:
                    row = {"class": name, "rotate_every_days": period, "overlap_days": bound, "at_bound": "escalate"}
                    row |= {"leak_minutes": 0, "tell": "affected", "accounts": "one each"}
                    found.append((simulate_policy([about], {name: row}, "mine")[0]["usd"], bound, row))
        rows.append(min(found, key=lambda x: x[:2])[2])
    return rows


# %% [b] right from_rules_of_thumb
# Orders of magnitude from leaks, prices and lags, as one would put them down in a meeting.
def policy(con):
    lag = dict(
        con.sql("""
        with f as (
          select account_id, version, caller_id, min(called_at) as t from ops.api_calls where status_code = 200 group by all
        )
        select class, quantile_cont(date_diff('hour', delivered_at, t) / 24, 0.9)
        from f join ops.credential_versions using (account_id, version) join ops.api_accounts using (account_id)
        where delivered_at between timestamp '2026-02-12' and timestamp '2026-05-28' and date_diff('hour', delivered_at, t) < 700
        group by class
    """).fetchall()
    )
    return pd.DataFrame(
        {
            "class": ["pipeline", "service", "partner"],
            "rotate_every_days": [14, 50, 130],
            "overlap_days": [1 + 2 * lag["pipeline"], 1 + 1.3 * lag["service"], min(30, 1.3 * lag["partner"])],
            "at_bound": "escalate",
            "leak_minutes": 10.0,
            "tell": "affected",
            "accounts": "one each",
        }
    )


# %% [b] wrong revoked_at_the_bound fails=bounds_cut_nobody_off says="and you revoked it"
# The bound is the bound.
def policy(con):
    return con.sql("""
        select *, 'revoke' as at_bound, 5 as leak_minutes, 'affected' as tell, 'one each' as accounts
        from (values ('pipeline', 12, 5), ('service', 50, 13), ('partner', 130, 19))
          as t (class, rotate_every_days, overlap_days)
    """)


# %% [b] wrong kept_for_laggards fails=overlaps_end says="a laggard never moves by itself"
# Keeps the old version until everybody has moved.
def policy(con):
    return [
        {
            "class": c,
            "rotate_every_days": every,
            "overlap_days": overlap,
            "at_bound": "keep",
            "leak_minutes": 5,
            "tell": "affected",
            "accounts": "one each",
        }
        for c, every, overlap in [("pipeline", 12, 5), ("service", 50, 13), ("partner", 130, 19)]
    ]


# %% [b] wrong leak_with_overlap fails=leaks_are_emergencies says="15 are allowed"
# A leak gets a day, so that callers can move first.
def policy(con):
    return con.sql("""
        select *, 'escalate' as at_bound, 1440 as leak_minutes, 'affected' as tell, 'one each' as accounts
        from (values ('pipeline', 12, 5), ('service', 50, 13), ('partner', 130, 19))
          as t (class, rotate_every_days, overlap_days)
    """)


# %% [b] wrong everybody_told fails=leaks_are_emergencies says="callers of the class are told"
# Tells everybody of every leak.
def policy(con):
    return [
        {
            "class": c,
            "rotate_every_days": every,
            "overlap_days": overlap,
            "at_bound": "escalate",
            "leak_minutes": 5,
            "tell": "everybody",
            "accounts": "one each",
        }
        for c, every, overlap in [("pipeline", 12, 5), ("service", 50, 13), ("partner", 130, 19)]
    ]


# %% [b] wrong nobody_told fails=leaks_are_emergencies says="nobody tells them why"
# Tells nobody: it is embarrassing.
def policy(con):
    return con.sql("""
        select *, 'escalate' as at_bound, 5 as leak_minutes, 'nobody' as tell, 'one each' as accounts
        from (values ('pipeline', 12, 5), ('service', 50, 13), ('partner', 130, 19))
          as t (class, rotate_every_days, overlap_days)
    """)


# %% [b] wrong one_shared_account fails=leaks_are_emergencies says="with one shared account"
# One account for each class: fewer rotations.
def policy(con):
    return [
        {
            "class": c,
            "rotate_every_days": every,
            "overlap_days": overlap,
            "at_bound": "escalate",
            "leak_minutes": 5,
            "tell": "affected",
            "accounts": "one shared",
        }
        for c, every, overlap in [("pipeline", 12, 5), ("service", 50, 13), ("partner", 130, 19)]
    ]


# %% [b] wrong ninety_days_for_all fails=policy_costs_little says="of the way from best"
# Every 90 days, as the standard used to say.
def policy(con):
    return con.sql("""
        select *, 'escalate' as at_bound, 5 as leak_minutes, 'affected' as tell, 'one each' as accounts
        from (values ('pipeline', 90, 14), ('service', 90, 14), ('partner', 90, 14))
          as t (class, rotate_every_days, overlap_days)
    """)


# %% [b] wrong everybody_escalated fails=policy_costs_little says="of the way from best"
# A bound of half a day: who has not moved by then is asked.
def policy(con):
    return [
        {
            "class": c,
            "rotate_every_days": every,
            "overlap_days": overlap,
            "at_bound": "escalate",
            "leak_minutes": 5,
            "tell": "affected",
            "accounts": "one each",
        }
        for c, every, overlap in [("pipeline", 12, 0.3), ("service", 50, 0.5), ("partner", 130, 0.5)]
    ]


# %% [b] wrong careful_with_the_cheap fails=policy_costs_little says="of the way from best"
# Partners hold the riskiest accounts, so they rotate most often; pipelines can wait.
def policy(con):
    return con.sql("""
        select *, 'escalate' as at_bound, 5 as leak_minutes, 'affected' as tell, 'one each' as accounts
        from (values ('pipeline', 120, 5), ('service', 50, 13), ('partner', 14, 10))
          as t (class, rotate_every_days, overlap_days)
    """)
