"""Many rollouts from one manifest, on one machine or several, whatever happens in between.

Read in this order:

schema, loader, settings, axes, expand, names   batch.yaml to jobs, with line and column of what is wrong
planning, check                                 every job planned before anything runs
claims, history, state, index                   what became of each job: files alone, safe on NFS
work                                            one job, from claim to end, wherever it runs
executor, local, worker, drive                  who runs it, and until when
collect, sheet                                  one table and one picture of everything
"""
