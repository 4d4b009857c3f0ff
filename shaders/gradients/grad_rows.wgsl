// Every unique row adds up its list of contributions. SLICES invocations share a cell, each with a stretch
// of the list, so that a row with a long list does not hold up the others; the order of the sums
// depends on the list alone. src/sampler/plan.rs says how a place
// names a contribution among `inputs`, `queries` and `coefficients`.
#import dispatch
#import value/*
#import cell/*
#import similarity/*
#use cell rows
#use cell inputs
#use cell queries
#use cell gradients
#use store gradients
#extern SLICES
#extern SHARED // GROUP, or 1 where SLICES is 1

@group(0) @binding(1) var<storage, read> plan: array<u32>;
@group(0) @binding(2) var<storage, read> rows: array<V>;
@group(0) @binding(3) var<storage, read> inputs: array<V>;
@group(0) @binding(4) var<storage, read> queries: array<V>;
@group(0) @binding(5) var<storage, read> coefficients: array<f32>;
@group(0) @binding(6) var<storage, read_write> gradients: array<V>;

const COLUMNS: u32 = GROUP / SLICES;
var<workgroup> sums: array<Cell, SHARED>;

fn add_place(sum: Cell, own: Cell, place: u32, k: u32) -> Cell {
    let number = place & 0x3fffffffu;
    switch place >> 30u {
        case 0u: {
            return add(sum, inputs_cell(number, k));
        }
        case 1u: {
            let coefficient = coefficients[number * params.candidates];
            return add_gradient(sum, coefficient, own, queries_cell(number, k));
        }
        case 3u: {
            // Contributions of pairs come after those of queries.
            return add(sum, inputs_cell(params.queries + number, k));
        }
        default: {
            let j = number % params.negatives + 1u;
            let first = number / params.negatives * params.chunk;
            let end = min(first + params.chunk, params.queries);
            var more = sum;
            for (var q = first; q < end; q++) {
                let coefficient = coefficients[q * params.candidates + j];
                more = add_gradient(more, coefficient, own, queries_cell(q, k));
            }
            return more;
        }
    }
}

// The places that a dispatch adds up (`params.extra`): all (0), those of candidates, or the others,
// which are added to the gradients of candidates.
const CANDIDATES: u32 = 1u;
const OTHERS: u32 = 2u;

fn counts(place: u32) -> bool {
    let kind = place >> 30u;
    let candidate = kind == 1u || kind == 2u;
    return params.extra == 0u || candidate == (params.extra == CANDIDATES);
}

@compute @workgroup_size(GROUP)
fn grad_rows(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let i = line(group, groups) * COLUMNS + local % COLUMNS;
    let slice = local / COLUMNS;
    let item = i / params.cells;
    let k = i % params.cells;
    let live = item < params.items;
    var sum = Cell();
    if live {
        let own = rows_cell(item, k);
        let start = plan[params.at_lists + item];
        let length = plan[params.at_lists + item + 1u] - start;
        let stretch = (length + SLICES - 1u) / SLICES;
        let begin = min(slice * stretch, length);
        let end = min(begin + stretch, length);
        for (var p = start + begin; p < start + end; p++) {
            let place = plan[params.at_places + p];
            if counts(place) {
                sum = add_place(sum, own, place, k);
            }
        }
    }
    if SLICES > 1u {
        sums[local] = sum;
        workgroupBarrier();
        if slice == 0u {
            for (var s = 1u; s < SLICES; s++) {
                sum = add(sum, sums[s * COLUMNS + local]);
            }
        }
    }
    if live && slice == 0u {
        if params.extra == OTHERS {
            sum = add(gradients_cell(item, k), sum);
        }
        store_gradients(item, k, sum);
    }
}
