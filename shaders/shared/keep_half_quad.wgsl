fn keep(row: u32, k: u32, value: V) {
    let column = 4u * k;
    values[row * params.cells + k] = vec2u(
        narrowed(value.x, row, column) | (narrowed(value.y, row, column + 1u) << 16u),
        narrowed(value.z, row, column + 2u) | (narrowed(value.w, row, column + 3u) << 16u),
    );
}
