"""The service: an API, a table of jobs, and workers (extra `service`).

The jobs table is the truth, the queue only rings the bell. Here lives what is needed to take a
video in, have `aura.pipeline.analyze` look at it exactly once, and hand the report out again; no
finding is made here.

jobs        what a job is and how its state may change
tables      the database's tables; `migrations` brings a database up to them
database    opens SQLite or PostgreSQL
store       every change of a job, each one conditional statement
work        `run_job`: claim, analyse, finish
"""
