/* The kernels for x86-64; `resize.c` includes this. */

#include <immintrin.h>

/* A weight has 23 bits, a factor of a 16-bit product 15: so each weight is in two parts, high * 2^15 + low.
 * Packed: for two taps the two low parts in one word, the two high parts in the next. */
#define TARGET __attribute__((target("avx2")))
#define LOW 15

/* Levels of the sums of four registers: 32 bits to 8, in both lanes. */
TARGET INLINE __m256i levels(const __m256i *sums)
{
    return _mm256_packus_epi16(
        _mm256_packs_epi32(_mm256_srli_epi32(sums[0], BITS), _mm256_srli_epi32(sums[1], BITS)),
        _mm256_packs_epi32(_mm256_srli_epi32(sums[2], BITS), _mm256_srli_epi32(sums[3], BITS)));
}

TARGET INLINE __m256i joined(__m256i low, __m256i high)
{
    return _mm256_add_epi32(low, _mm256_slli_epi32(high, LOW));
}

INLINE void put(uint8_t *to, int32_t pixel) { memcpy(to, &pixel, 4); }

TARGET INLINE __m256i word(const uint32_t *weight) { return _mm256_set1_epi32((int32_t)*weight); }

TARGET INLINE __m256i load_rows(const uint8_t *row, int64_t stride)
{
    return _mm256_inserti128_si256(
        _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)row)),
        _mm_loadu_si128((const __m128i *)(row + stride)), 1);
}

/* `sums` has four pairs of rows; what is beyond `pairs` is not stored. */
TARGET INLINE void store_rows(int pairs, uint8_t *out, int64_t out_stride, const __m256i *sums)
{
    const __m256i pixels = levels(sums);
    const __m128i even = _mm256_castsi256_si128(pixels), odd = _mm256_extracti128_si256(pixels, 1);
    put(out, _mm_cvtsi128_si32(even));
    put(out + out_stride, _mm_cvtsi128_si32(odd));
    if (pairs > 1) {
        put(out + 2 * out_stride, _mm_extract_epi32(even, 1));
        put(out + 3 * out_stride, _mm_extract_epi32(odd, 1));
        put(out + 4 * out_stride, _mm_extract_epi32(even, 2));
        put(out + 5 * out_stride, _mm_extract_epi32(odd, 2));
        put(out + 6 * out_stride, _mm_extract_epi32(even, 3));
        put(out + 7 * out_stride, _mm_extract_epi32(odd, 3));
    }
}

/* Two rows in each register. A word of `near` is one colour of the pixels 0 and 1, of `far` of 2 and 3. */
TARGET INLINE void across_avx2(
    int pairs, const uint8_t *source, int64_t stride, const Axis *axis, uint8_t *out, int64_t out_stride)
{
    const __m256i near = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1));
    const __m256i far = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1));
    for (int32_t i = 0; i < axis->outputs; i++) {
        const uint8_t *pixels = source + 3 * (int64_t)axis->first[i];
        const uint32_t *weights = axis->weights + (int64_t)i * axis->taps;
        __m256i low[ROWS / 2], high[ROWS / 2];
        for (int p = 0; p < ROWS / 2; p++)
            low[p] = _mm256_set1_epi32(HALF), high[p] = _mm256_setzero_si256();
        for (int32_t g = groups_of(axis, i); g > 0; g--, pixels += 3 * TAPS, weights += TAPS) {
            const __m256i low0 = word(weights), high0 = word(weights + 1);
            const __m256i low1 = word(weights + 2), high1 = word(weights + 3);
#pragma GCC unroll 4
            for (int p = 0; p < pairs; p++) {
                const __m256i both = load_rows(pixels + 2 * p * stride, stride);
                const __m256i a = _mm256_shuffle_epi8(both, near), b = _mm256_shuffle_epi8(both, far);
                low[p] = _mm256_add_epi32(low[p], _mm256_madd_epi16(a, low0));
                high[p] = _mm256_add_epi32(high[p], _mm256_madd_epi16(a, high0));
                low[p] = _mm256_add_epi32(low[p], _mm256_madd_epi16(b, low1));
                high[p] = _mm256_add_epi32(high[p], _mm256_madd_epi16(b, high1));
            }
        }
        __m256i sums[ROWS / 2];
        for (int p = 0; p < ROWS / 2; p++)
            sums[p] = joined(low[p], high[p]);
        store_rows(pairs, out + 3 * i, out_stride, sums);
    }
}

TARGET static void across_8_avx2(const uint8_t *source, int64_t stride, const Axis *axis, uint8_t *out, int64_t to)
{
    across_avx2(4, source, stride, axis, out, to);
}

TARGET static void across_2_avx2(const uint8_t *source, int64_t stride, const Axis *axis, uint8_t *out, int64_t to)
{
    across_avx2(1, source, stride, axis, out, to);
}

/* Two rows at a time, interleaved byte by byte, then widened to the words that a product takes. */
TARGET static void down_avx2(
    const uint8_t *rows, int64_t stride, int32_t count, const uint32_t *weights, uint8_t *out)
{
    const __m256i zero = _mm256_setzero_si256();
    const __m256i half = _mm256_set1_epi32(HALF);
    __m256i low[4] = {half, half, half, half}, high[4] = {zero, zero, zero, zero};
    for (int32_t t = 0; t < count; t += 2, weights += 2) {
        const uint8_t *row = rows + t * stride;
        const __m256i a = _mm256_loadu_si256((const __m256i *)row);
        const __m256i b = _mm256_loadu_si256((const __m256i *)(t + 1 < count ? row + stride : row));
        const __m256i first = _mm256_unpacklo_epi8(a, b), second = _mm256_unpackhi_epi8(a, b);
        const __m256i words[4] = {
            _mm256_unpacklo_epi8(first, zero), _mm256_unpackhi_epi8(first, zero),
            _mm256_unpacklo_epi8(second, zero), _mm256_unpackhi_epi8(second, zero)};
        const __m256i l = word(weights), h = word(weights + 1);
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) {
            low[k] = _mm256_add_epi32(low[k], _mm256_madd_epi16(words[k], l));
            high[k] = _mm256_add_epi32(high[k], _mm256_madd_epi16(words[k], h));
        }
    }
    __m256i sums[4];
    for (int k = 0; k < 4; k++)
        sums[k] = joined(low[k], high[k]);
    _mm256_storeu_si256((__m256i *)out, levels(sums));
}

/* A dot product takes signed weights: so each is in three signed bytes, low + 2^8 middle + 2^16 high. Packed: the
 * four taps' low bytes in the first word, the middle ones in the second, the high ones in the third. */
static void pack_bytes(const uint32_t *weights, uint32_t *packed)
{
    memset(packed, 0, TAPS * sizeof *packed);
    for (int tap = 0; tap < TAPS; tap++) {
        int32_t rest = (int32_t)weights[tap];
        for (int rank = 0; rank < 3; rank++) {
            const int32_t byte = (int8_t)(rest & 255);
            packed[rank] |= (uint32_t)(byte & 255) << 8 * tap;
            rest = (rest - byte) >> 8;
        }
    }
}

/* With dot products of bytes, across alone: down has too few taps to gain. */
#define VNNI(name) name##_avx_vnni
#define VNNI_TARGET __attribute__((target("avx2,avxvnni")))
#define VNNI_DOT _mm256_dpbusd_avx_epi32
#include "x86_vnni.h"
#undef VNNI
#undef VNNI_TARGET
#undef VNNI_DOT

#define VNNI(name) name##_avx512_vnni
#define VNNI_TARGET __attribute__((target("avx2,avx512vl,avx512vnni")))
#define VNNI_DOT _mm256_dpbusd_epi32
#include "x86_vnni.h"

static const Kernel kernels[] = {
    [AVX2] = {8, 2, across_8_avx2, across_2_avx2, down_avx2},
    [AVX_VNNI] = {8, 2, across_8_avx_vnni, across_2_avx_vnni, down_avx2},
    [AVX512_VNNI] = {8, 2, across_8_avx512_vnni, across_2_avx512_vnni, down_avx2},
};

static int32_t best_kernel(void)
{
    if (__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vl"))
        return AVX512_VNNI;
    if (__builtin_cpu_supports("avxvnni"))
        return AVX_VNNI;
    return __builtin_cpu_supports("avx2") ? AVX2 : NONE;
}

static void pack_taps(int32_t kernel, int32_t axis, const uint32_t *weights, uint32_t *packed)
{
    if (kernel != AVX2 && axis == ACROSS) {
        pack_bytes(weights, packed);
        return;
    }
    for (int i = 0; i < TAPS; i += 2) {
        const uint32_t a = weights[i], b = weights[i + 1], mask = (1u << LOW) - 1;
        packed[i] = (a & mask) | (b & mask) << 16;
        packed[i + 1] = a >> LOW | (b >> LOW) << 16;
    }
}
