"""r-softmax as an ONNX function of standard operators, so that a model file runs in any ONNX runtime.

A runtime with the compiled kernel registered takes the kernel; every other one takes this body. It knows no torch.
"""

import onnx
import onnx.parser

DOMAIN = "ai.labelset"
NAME = "RSoftmax"
OLDEST_OPSET = 18

# SPEC.md step by step. TopK, not a sort: as many entries as survive in the fullest row, and one more; ranks count from
# the largest. Rows and classes are axes 0 and 1 throughout: along a negative axis, onnxruntime 1.31 reduces an empty
# batch to the wrong shape, and the reference evaluator of onnx 1.23 cannot gather. In a row that is masked as a whole
# the cut is NaN (-inf less -inf), and nothing is above it.
_FUNCTION = """
<opset_import: ["" : {opset_version}], domain: "{domain}">
{name} (logits, rate) => (probabilities)
{{
  class_axis = Constant <value_ints = [1]> ()
  any_length = Constant <value_ints = [-1]> ()
  column_shape = Constant <value_ints = [-1, 1]> ()
  zero = Constant <value = float {{0}}> ()
  one = Constant <value = float {{1}}> ()
  infinity = Constant <value = float {{inf}}> ()
  minus_infinity = Constant <value = float {{-inf}}> ()
  not_a_number = Constant <value = float {{nan}}> ()
  largest_float = Constant <value = float {{3.4028234663852886e38}}> ()
  smallest_normal = Constant <value = float {{1.1754943508222875e-38}}> ()
  zero_rate = Constant <value = double {{0}}> ()
  full_rate = Constant <value = double {{1}}> ()
  zero_rank = Constant <value = int64 {{0}}> ()
  one_rank = Constant <value = int64 {{1}}> ()
  first_rank = Constant <value_ints = [0]> ()

  shape = Shape (logits)
  class_count = Shape <start = -1> (logits)
  row_shape = Concat <axis = 0> (any_length, class_count)
  rows = Reshape (logits, row_shape)
  row_rate = Reshape (rate, column_shape)

  is_unmasked = Greater (rows, minus_infinity)
  unmasked_ones = Cast <to = 6> (is_unmasked)
  unmasked_count = ReduceSum (unmasked_ones, class_axis)
  unmasked = Cast <to = 7> (unmasked_count)
  last_rank_or_less = Sub (unmasked, one_rank)
  last_rank = Max (last_rank_or_less, zero_rank)

  rate_not_below = GreaterOrEqual (row_rate, zero_rate)
  rate_not_above = LessOrEqual (row_rate, full_rate)
  rate_allowed = And (rate_not_below, rate_not_above)
  safe_rate = Where (rate_allowed, row_rate, full_rate)
  last_position = Cast <to = 11> (last_rank)
  position = Mul (safe_rate, last_position)
  lower_position = Floor (position)
  fraction = Sub (position, lower_position)

  rank_from_smallest = Cast <to = 7> (lower_position)
  lower_rank = Sub (last_rank, rank_from_smallest)
  upper_rank_or_less = Sub (lower_rank, one_rank)
  upper_rank = Max (upper_rank_or_less, zero_rank)
  batch_ranks = Reshape (lower_rank, any_length)
  batch_ranks_or_first = Concat <axis = 0> (batch_ranks, first_rank)
  deepest_rank = ReduceMax (batch_ranks_or_first)
  sorted_count = Add (deepest_rank, one_rank)
  descending, order = TopK (rows, sorted_count)
  lower_entry = GatherElements <axis = 1> (descending, lower_rank)
  upper_entry = GatherElements <axis = 1> (descending, upper_rank)
  lower = Cast <to = 11> (lower_entry)
  upper = Cast <to = 11> (upper_entry)
  gap = Sub (upper, lower)
  step = Mul (fraction, gap)
  exact_cut = Add (lower, step)
  cut = Cast <to = 1> (exact_cut)

  highest = ReduceMax (rows, class_axis)
  is_tied = GreaterOrEqual (cut, highest)
  is_highest = Equal (rows, highest)
  is_above = Greater (rows, cut)
  is_tied_highest = And (is_tied, is_highest)
  is_survivor = Or (is_above, is_tied_highest)
  distance = Sub (rows, cut)
  finite_distance = Min (distance, largest_float)
  longest_distance = Sub (highest, cut)
  longest_finite = Min (longest_distance, largest_float)
  relative_distance = Div (finite_distance, longest_finite)
  weight = Where (is_tied, one, relative_distance)
  shifted = Sub (rows, highest)
  exponential = Exp (shifted)
  weighted = Mul (weight, exponential)
  mass = Where (is_survivor, weighted, zero)
  total = ReduceSum (mass, class_axis)
  ratio = Div (mass, total)
  visible_ratio = Max (ratio, smallest_normal)
  distribution = Where (is_survivor, visible_ratio, zero)

  is_number_below_infinity = Less (rows, infinity)
  numbers_ones = Cast <to = 6> (is_number_below_infinity)
  numbers_all = ReduceMin (numbers_ones, class_axis)
  is_sound = Cast <to = 9> (numbers_all)
  is_legal = And (is_sound, rate_allowed)
  row_probabilities = Where (is_legal, distribution, not_a_number)
  probabilities = Reshape <allowzero = 1> (row_probabilities, shape)
}}
"""


def r_softmax_function(opset_version: int) -> onnx.FunctionProto:
    """The body of `ai.labelset::RSoftmax`.

    It takes logits, float [..., C], and rate, double, one value or one per row, and returns float [..., C]. A graph
    cannot raise: a row whose rate is outside [0, 1] becomes NaN.

    Args:
        opset_version: The version of the standard operators that the model imports.

    Raises:
        ValueError: an opset older than 18, in which reductions do not take their axes as an input yet.
    """
    if opset_version < OLDEST_OPSET:
        raise ValueError(f"opset_version must be at least {OLDEST_OPSET}, got {opset_version}")
    return onnx.parser.parse_function(_FUNCTION.format(domain=DOMAIN, name=NAME, opset_version=opset_version))


def attach(model: onnx.ModelProto) -> None:
    """Add the function and its domain to a model that holds bare `RSoftmax` nodes, in place.

    Raises:
        ValueError: the model imports an opset older than 18.
    """
    versions = {opset.domain: opset.version for opset in model.opset_import}
    model.functions.append(r_softmax_function(versions[""]))
    if DOMAIN not in versions:
        model.opset_import.append(onnx.helper.make_opsetid(DOMAIN, 1))
