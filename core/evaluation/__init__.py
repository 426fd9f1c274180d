"""`worldkv eval`: what finished runs remember, from their videos and logs alone.

recording    a run folder, opened and checked: settings, cameras, video
footage      the frames that are compared, in the model's own size
pairs        one line a pair of frames, all metrics
truth        against the true world, where there is one
retrieval    against what was truly visible
scores       a run in numbers
groups       runs that differ in seed or trajectory alone, intervals, paired differences
against      the baselines of a run, made where they are missing
evaluate     all of it
"""
