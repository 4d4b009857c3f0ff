// A row of scores against a part of the entities → its statistic, which the parts exchange. One workgroup a row.
// `extra` is the round; shared/statistic/ has the losses.
#import dispatch
#import statistic/*

@group(0) @binding(1) var<storage, read> plan: array<u32>;
@group(0) @binding(2) var<storage, read> scores: array<f32>;
// By round and query of the tile: two values. Earlier rounds have the statistics of all parts.
@group(0) @binding(3) var<storage, read_write> statistics: array<f32>;

// A row of scores.
struct Row {
    line: u32,
    at: u32,
    length: u32,
    // Position of the query's first right answer, or NONE if it lies in another part.
    best: u32,
}

@compute @workgroup_size(GROUP)
fn part_statistic(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let i = line(group, groups);
    if i >= params.count {
        return;
    }
    let best = plan[params.at_slots + params.first + i];
    let value = statistic_row(Row(i, i * params.candidates, params.candidates, best), local);
    if local == 0u {
        let at = 2u * (params.extra * params.count + i);
        statistics[at] = value.x;
        statistics[at + 1u] = value.y;
    }
}
