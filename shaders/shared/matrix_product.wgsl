// A row times a relation's matrix or, transposed, the matrix times the row: OUTPUTS results a
// workgroup. DEPTH of the sum's terms are loaded at a time; the invocations of a result each add up
// every fourth of them. The stage declares `relations`, and `input`, which gives the row's values.
#import dispatch
#import dropout

const OUTPUTS: u32 = 64u;
const DEPTH: u32 = 32u;
// One more keeps invocations side by side out of the same memory bank.
const PITCH: u32 = DEPTH + 1u;
var<workgroup> matrix: array<f32, OUTPUTS * PITCH>;
var<workgroup> inputs: array<f32, DEPTH>;
var<workgroup> parts: array<f32, GROUP>;

// Result `first + local % OUTPUTS` of query `q`, for the first OUTPUTS invocations.
fn matrix_product(q: u32, relation: u32, transposed: bool, first: u32, local: u32) -> f32 {
    let n = params.width;
    let slice = local / OUTPUTS;
    let own = local % OUTPUTS * PITCH;
    var sum = 0.0;
    for (var i = 0u; i < n; i += DEPTH) {
        for (var t = local; t < OUTPUTS * DEPTH; t += GROUP) {
            // Neighbours load what lies side by side.
            let o = select(t % OUTPUTS, t / DEPTH, transposed);
            let d = select(t / OUTPUTS, t % DEPTH, transposed);
            if first + o < n && i + d < n {
                let column = select((i + d) * n + first + o, (first + o) * n + i + d, transposed);
                let value = relations[relation * params.relation_width + column];
                matrix[o * PITCH + d] = value * relation_factor(q, column);
            }
        }
        if local < DEPTH && i + local < n {
            inputs[local] = input(q, i + local);
        }
        workgroupBarrier();
        let depth = min(DEPTH, n - i);
        for (var d = slice; d < depth; d += GROUP / OUTPUTS) {
            sum = fma(inputs[d], matrix[own + d], sum);
        }
        workgroupBarrier();
    }
    parts[local] = sum;
    workgroupBarrier();
    if slice == 0u {
        for (var s = 1u; s < GROUP / OUTPUTS; s++) {
            sum += parts[s * OUTPUTS + local];
        }
    }
    return sum;
}
