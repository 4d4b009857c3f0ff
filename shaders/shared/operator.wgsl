// The operator of a model, lane by lane: the formulas in WGSL of src/model/*.rs, which may use all
// names of this file.
#import trig
#import lanes
#extern ROOT_EPSILON
#extern operator_forward operator_backward

// ∂loss/∂entity and ∂loss/∂relation of a lane.
struct OperatorGradient {
    de: Lane,
    dr: Lane,
}
