fn keep(row: u32, k: u32, value: V) {
    values[row * params.cells + k] = value;
}
