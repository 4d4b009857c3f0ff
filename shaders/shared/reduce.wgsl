// Reductions over a workgroup of GROUP invocations, in a fixed order. All invocations must call
// them together; all get the result.
#import dispatch

var<workgroup> reduced: array<f32, GROUP>;

fn reduce_sum(local: u32, x: f32) -> f32 {
    reduced[local] = x;
    for (var reach = GROUP / 2u; reach > 0u; reach /= 2u) {
        workgroupBarrier();
        if local < reach {
            reduced[local] += reduced[local + reach];
        }
    }
    return reduced_first();
}

fn reduce_max(local: u32, x: f32) -> f32 {
    reduced[local] = x;
    for (var reach = GROUP / 2u; reach > 0u; reach /= 2u) {
        workgroupBarrier();
        if local < reach {
            reduced[local] = max(reduced[local], reduced[local + reach]);
        }
    }
    return reduced_first();
}

fn reduced_first() -> f32 {
    workgroupBarrier();
    let first = reduced[0];
    workgroupBarrier();
    return first;
}
