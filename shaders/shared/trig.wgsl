// Sine and cosine, in this order: Cody–Waite reduction by π/2, then Cephes' polynomials on ±π/4,
// the same as `sin_cos` in model/real.rs. WGSL's own functions may be off by 2⁻¹¹.
fn sin_cos(x: f32) -> vec2f {
    let n = round(x * 0.63661977);
    let r = fma(n, -7.54979e-8, fma(n, -4.837513e-4, fma(n, -1.5703125, x)));
    let z = r * r;
    let sine = fma(fma(fma(-1.9515296e-4, z, 8.332161e-3), z, -1.6666655e-1) * z, r, r);
    let cosine = fma(fma(fma(2.4433157e-5, z, -1.3887316e-3), z, 4.1666646e-2) * z, z, fma(-0.5, z, 1.0));
    let quadrant = i32(n);
    let turned = select(vec2f(sine, cosine), vec2f(cosine, sine), (quadrant & 1) != 0);
    let negative = vec2<bool>((quadrant & 2) != 0, ((quadrant + 1) & 2) != 0);
    return select(turned, -turned, negative);
}
