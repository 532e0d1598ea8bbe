/* The kernels for AArch64; `resize.c` includes this. */

#include <arm_neon.h>
#include <sys/auxv.h>

#ifndef HWCAP_ASIMDDP
#define HWCAP_ASIMDDP (1 << 20)
#endif

/* Levels of the sums of four rows, or of 16 neighbours: 32 bits to 8, saturated. */
INLINE uint8x16_t levels(const uint32x4_t *sums)
{
    const uint16x8_t first = vshrn_high_n_u32(vshrn_n_u32(sums[0], 16), sums[1], 16);
    const uint16x8_t second = vshrn_high_n_u32(vshrn_n_u32(sums[2], 16), sums[3], 16);
    return vqshrn_high_n_u16(vqshrn_n_u16(first, BITS - 16), second, BITS - 16);
}

/* `sums` has four rows at least; what is beyond `rows` is not stored. */
INLINE void store_rows(int rows, uint8_t *out, int64_t out_stride, const uint32x4_t *sums)
{
    for (int r = 0; r < rows; r += 4, sums += 4, out += 4 * out_stride) {
        const uint32x4_t pixels = vreinterpretq_u32_u8(levels(sums));
        vst1q_lane_u32((uint32_t *)out, pixels, 0);
        if (rows > 1) {
            vst1q_lane_u32((uint32_t *)(out + out_stride), pixels, 1);
            vst1q_lane_u32((uint32_t *)(out + 2 * out_stride), pixels, 2);
            vst1q_lane_u32((uint32_t *)(out + 3 * out_stride), pixels, 3);
        }
    }
}

/* Any Armv8: 32-bit products. A table look-up with indices that are out of range gives 0, so it widens too. */
INLINE void across_neon(
    int rows, const uint8_t *source, int64_t stride, const Axis *axis, uint8_t *out, int64_t out_stride)
{
    static const uint8_t spread[TAPS][16] = {
        {0, 99, 99, 99, 1, 99, 99, 99, 2, 99, 99, 99, 99, 99, 99, 99},
        {3, 99, 99, 99, 4, 99, 99, 99, 5, 99, 99, 99, 99, 99, 99, 99},
        {6, 99, 99, 99, 7, 99, 99, 99, 8, 99, 99, 99, 99, 99, 99, 99},
        {9, 99, 99, 99, 10, 99, 99, 99, 11, 99, 99, 99, 99, 99, 99, 99}};
    const uint8x16_t tap0 = vld1q_u8(spread[0]), tap1 = vld1q_u8(spread[1]);
    const uint8x16_t tap2 = vld1q_u8(spread[2]), tap3 = vld1q_u8(spread[3]);
    for (int32_t i = 0; i < axis->outputs; i++) {
        const uint8_t *pixels = source + 3 * (int64_t)axis->first[i];
        const uint32_t *weights = axis->weights + (int64_t)i * axis->taps;
        uint32x4_t sums[ROWS];
        for (int r = 0; r < ROWS; r++)
            sums[r] = vdupq_n_u32(HALF);
        for (int32_t g = groups_of(axis, i); g > 0; g--, pixels += 3 * TAPS, weights += TAPS) {
            const uint32x4_t w = vld1q_u32(weights);
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++) {
                const uint8x16_t row = vld1q_u8(pixels + r * stride);
                sums[r] = vmlaq_laneq_u32(sums[r], vreinterpretq_u32_u8(vqtbl1q_u8(row, tap0)), w, 0);
                sums[r] = vmlaq_laneq_u32(sums[r], vreinterpretq_u32_u8(vqtbl1q_u8(row, tap1)), w, 1);
                sums[r] = vmlaq_laneq_u32(sums[r], vreinterpretq_u32_u8(vqtbl1q_u8(row, tap2)), w, 2);
                sums[r] = vmlaq_laneq_u32(sums[r], vreinterpretq_u32_u8(vqtbl1q_u8(row, tap3)), w, 3);
            }
        }
        store_rows(rows, out + 3 * i, out_stride, sums);
    }
}

static void across_8_neon(const uint8_t *source, int64_t stride, const Axis *axis, uint8_t *out, int64_t to)
{
    across_neon(8, source, stride, axis, out, to);
}

static void across_1_neon(const uint8_t *source, int64_t stride, const Axis *axis, uint8_t *out, int64_t to)
{
    across_neon(1, source, stride, axis, out, to);
}

INLINE void down_16_neon(
    const uint8_t *rows, int64_t stride, int32_t count, const uint32_t *weights, uint8_t *out)
{
    const uint32x4_t half = vdupq_n_u32(HALF);
    uint32x4_t sums[4] = {half, half, half, half};
    for (int32_t t = 0; t < count; t++) {
        const uint8x16_t row = vld1q_u8(rows + t * stride);
        const uint16x8_t near = vmovl_u8(vget_low_u8(row)), far = vmovl_high_u8(row);
        const uint32_t w = weights[t];
        sums[0] = vmlaq_n_u32(sums[0], vmovl_u16(vget_low_u16(near)), w);
        sums[1] = vmlaq_n_u32(sums[1], vmovl_high_u16(near), w);
        sums[2] = vmlaq_n_u32(sums[2], vmovl_u16(vget_low_u16(far)), w);
        sums[3] = vmlaq_n_u32(sums[3], vmovl_high_u16(far), w);
    }
    vst1q_u8(out, levels(sums));
}

static void down_neon(const uint8_t *rows, int64_t stride, int32_t count, const uint32_t *weights, uint8_t *out)
{
    down_16_neon(rows, stride, count, weights, out);
    down_16_neon(rows + 16, stride, count, weights, out + 16);
}

/* With dot products of bytes: a weight is in three bytes, and the four taps' bytes of one rank make a word. */
#define TARGET __attribute__((target("arch=armv8.2-a+dotprod")))

TARGET INLINE uint32x4_t joined(uint32x4_t low, uint32x4_t middle, uint32x4_t high)
{
    return vmlaq_n_u32(low, vmlaq_n_u32(middle, high, 256), 256);
}

TARGET INLINE void across_dotprod(
    int rows, const uint8_t *source, int64_t stride, const Axis *axis, uint8_t *out, int64_t out_stride)
{
    static const uint8_t by_colour[16] = {0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11, 99, 99, 99, 99};
    const uint8x16_t colours = vld1q_u8(by_colour);
    for (int32_t i = 0; i < axis->outputs; i++) {
        const uint8_t *pixels = source + 3 * (int64_t)axis->first[i];
        const uint32_t *weights = axis->weights + (int64_t)i * axis->taps;
        uint32x4_t low[4], middle[4], high[4], sums[4];
        for (int r = 0; r < 4; r++) {
            low[r] = vdupq_n_u32(HALF);
            middle[r] = high[r] = vdupq_n_u32(0);
        }
        for (int32_t g = groups_of(axis, i); g > 0; g--, pixels += 3 * TAPS, weights += TAPS) {
            const uint8x16_t w = vreinterpretq_u8_u32(vld1q_u32(weights));
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++) {
                const uint8x16_t row = vqtbl1q_u8(vld1q_u8(pixels + r * stride), colours);
                low[r] = vdotq_laneq_u32(low[r], row, w, 0);
                middle[r] = vdotq_laneq_u32(middle[r], row, w, 1);
                high[r] = vdotq_laneq_u32(high[r], row, w, 2);
            }
        }
        for (int r = 0; r < 4; r++)
            sums[r] = joined(low[r], middle[r], high[r]);
        store_rows(rows, out + 3 * i, out_stride, sums);
    }
}

TARGET static void across_4_dotprod(const uint8_t *source, int64_t stride, const Axis *axis, uint8_t *out, int64_t to)
{
    across_dotprod(4, source, stride, axis, out, to);
}

TARGET static void across_1_dotprod(const uint8_t *source, int64_t stride, const Axis *axis, uint8_t *out, int64_t to)
{
    across_dotprod(1, source, stride, axis, out, to);
}

static const Kernel kernels[] = {
    [NEON] = {8, 1, across_8_neon, across_1_neon, down_neon},
    [DOTPROD] = {4, 1, across_4_dotprod, across_1_dotprod, down_neon},
};

static int32_t best_kernel(void) { return getauxval(AT_HWCAP) & HWCAP_ASIMDDP ? DOTPROD : NEON; }

static void pack_taps(int32_t kernel, int32_t axis, const uint32_t *weights, uint32_t *packed)
{
    for (int rank = 0; rank < TAPS; rank++) {
        packed[rank] = weights[rank];
        if (kernel == DOTPROD && axis == ACROSS) {
            packed[rank] = 0;
            for (int tap = 0; tap < TAPS; tap++)
                packed[rank] |= (weights[tap] >> 8 * rank & 255) << 8 * tap;
        }
    }
}
