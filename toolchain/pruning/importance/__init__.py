"""Importance metrics, one per file: `score(statistics, weight, block=1)`.

Every `score` takes

- `statistics`: `ProjectionStatistics` of the projection's input X [N, d], float32 on the CPU; a
  score takes to float64 what it needs there, a d x d matrix at a time;
- `weight`: W [d, m] float32, `linear.weight.T`;
- `block`: adjacent rows of W that go together (1 for neurons, all heads of a KV group otherwise);

and returns float64 [d / block], the larger the more worth keeping, in squared units of the output:
most metrics are the error that stays after a particular recovery when only that block goes.

Those of `toolchain.registry.GRADIENT_IMPORTANCE` take a fourth argument, `gradients`: the
projection's `ProjectionGradients`, taken in the dense model before pruning.
"""
