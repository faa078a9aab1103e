"""Importance metrics, one per file: `score(statistics, weight, block=1)`.

Every `score` takes

- `statistics`: `ProjectionStatistics` of the projection's input X [N, d], float64 on the CPU;
- `weight`: W [d, m] float64, `linear.weight.T`;
- `block`: adjacent rows of W that go together (1 for neurons, all heads of a KV group otherwise);

and returns float64 [d / block], the larger the more worth keeping, in squared units of the output:
most metrics are the error that stays after a particular recovery when only that block goes.
"""
