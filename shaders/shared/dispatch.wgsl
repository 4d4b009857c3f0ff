// The parameters of a dispatch, and the place of a workgroup in it: every stage imports them.
#extern Params // of src/kernel/gpu/params.rs
#extern GROUP // invocations of a workgroup

@group(0) @binding(0) var<uniform> params: Params;

// Stands for a part that the plan does not have.
const NONE: u32 = 0xffffffffu;

// The number of a workgroup in a line that was folded to fit the dispatch.
fn line(group: vec3u, groups: vec3u) -> u32 {
    return group.y * groups.x + group.x;
}
