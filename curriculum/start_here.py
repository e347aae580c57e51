# %% [markdown]
# # Start here
#
# This is the Data Operations Workshop, on designing, governing and running the data operations of a company. The company is
# Kestrel Market, an online market for groceries and household goods in eleven countries. All its tables lie in a DuckDB
# database on this machine: customers and orders, and also the teams, pipelines, runs, queries, costs and incidents of its
# data organisation. The next cell draws the map of the topics and shows how far you are.
# %%
from workshop import progress

progress()
# %% [markdown]
# ## How a topic works
#
# 1. **Read the lesson** (20 to 25 minutes). It shows one idea with Kestrel's data. Run its cells, change them, see what happens.
# 2. **Do the lab** (35 to 75 minutes). Each task is one cell with a `TODO` in it; replace that and nothing else. Below it stands
#    `lab.check("a")`: run it as often as you like. It tells you what your work did, shows the rows or a picture, and asks the
#    next question.
# 3. Stuck? `lab.hint("a")` helps in three steps, `lab.reset("a")` shows the cell as it was handed out, and
#    `lab.solution("a")` shows one way to do it, once you have tried (where your course shows solutions).
#
# Nothing is hidden but the seed: when a lab is graded, the same checks run on a fresh Kestrel, made from a seed that you
# have not seen. What works for the rule works there too; what was read off this one does not.
#
# Before you hand in: *Kernel, Restart Kernel and Run All Cells*, then save.
# %% [markdown]
# ## Topics
#
# TOPICS
