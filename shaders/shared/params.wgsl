// Stands for what a plan does not have.
const NONE: u32 = 0xffffffffu;

// The place of a workgroup in a line that was folded to fit the dispatch.
fn line(group: vec3u, groups: vec3u) -> u32 {
    return group.y * groups.x + group.x;
}
