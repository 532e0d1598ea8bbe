/* Across by `vpdpbusd`, which two extensions have; `x86.h` includes this once for each. Two rows in each register,
 * each of whose words is one colour of four pixels. */

VNNI_TARGET INLINE void VNNI(across)(
    int pairs, const uint8_t *source, int64_t stride, const Axis *axis, uint8_t *out, int64_t out_stride)
{
    const __m256i colours = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11, -1, -1, -1, -1));
    for (int32_t i = 0; i < axis->outputs; i++) {
        const uint8_t *pixels = source + 3 * (int64_t)axis->first[i];
        const uint32_t *weights = axis->weights + (int64_t)i * axis->taps;
        __m256i low[ROWS / 2], middle[ROWS / 2], high[ROWS / 2], sums[ROWS / 2];
        for (int p = 0; p < ROWS / 2; p++)
            low[p] = _mm256_set1_epi32(HALF), middle[p] = high[p] = _mm256_setzero_si256();
        for (int32_t g = groups_of(axis, i); g > 0; g--, pixels += 3 * TAPS, weights += TAPS) {
            const __m256i w0 = word(weights), w1 = word(weights + 1), w2 = word(weights + 2);
#pragma GCC unroll 4
            for (int p = 0; p < pairs; p++) {
                const __m256i four = _mm256_shuffle_epi8(load_rows(pixels + 2 * p * stride, stride), colours);
                low[p] = VNNI_DOT(low[p], four, w0);
                middle[p] = VNNI_DOT(middle[p], four, w1);
                high[p] = VNNI_DOT(high[p], four, w2);
            }
        }
        for (int p = 0; p < ROWS / 2; p++)
            sums[p] = _mm256_add_epi32(
                _mm256_add_epi32(low[p], _mm256_slli_epi32(middle[p], 8)), _mm256_slli_epi32(high[p], 16));
        store_rows(pairs, out + 3 * i, out_stride, sums);
    }
}

VNNI_TARGET static void VNNI(across_8)(
    const uint8_t *source, int64_t stride, const Axis *axis, uint8_t *out, int64_t out_stride)
{
    VNNI(across)(4, source, stride, axis, out, out_stride);
}

VNNI_TARGET static void VNNI(across_2)(
    const uint8_t *source, int64_t stride, const Axis *axis, uint8_t *out, int64_t out_stride)
{
    VNNI(across)(1, source, stride, axis, out, out_stride);
}
