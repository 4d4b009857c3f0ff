// Adds up the losses of a step's queries. One workgroup.
#import dispatch
#import reduce

@group(0) @binding(1) var<storage, read> losses: array<f32>;
@group(0) @binding(2) var<storage, read_write> steps: array<f32>;

@compute @workgroup_size(GROUP)
fn loss_sum(@builtin(local_invocation_index) local: u32) {
    var sum = 0.0;
    for (var q = local; q < params.queries; q += GROUP) {
        sum += losses[q];
    }
    sum = reduce_sum(local, sum);
    if local == 0u {
        steps[params.extra] = sum;
    }
}
