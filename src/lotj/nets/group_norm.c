/* Group normalisation, with or without a ReLU behind it, of channels-last bf16 images: two passes over each image, which
 * stays in the cache between them. Sums are float32. Built and called by compiled.py, tested against torch in
 * tests/test_nets.py.
 *
 * An image is `cells` rows of `channels` numbers; a group is GROUP channels in a row. mean and rstd hold one number a
 * group, sums one a channel. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#define GROUP 8
#define WIDEST 1024 /* channels; compiled.py asks for no more */

static inline float widen(uint16_t half) {
    uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* To the nearest, ties to even; a number that is none stays none. */
static inline uint16_t narrow(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return (uint16_t)(value != value ? 0x7fc0u : rounded);
}

/* What the normalisation does to a channel: x -> x * scale + shift. */
static void affine(const float *mean, const float *rstd, const float *weight, const float *bias, long channels,
                   float *scale, float *shift) {
    for (long c = 0; c < channels; c++) {
        scale[c] = rstd[c / GROUP] * weight[c];
        shift[c] = bias[c] - mean[c / GROUP] * scale[c];
    }
}

void lotj_group_norm(const uint16_t *x, const float *weight, const float *bias, uint16_t *y, float *mean, float *rstd,
                     long batch, long cells, long channels, float eps, int relu, int threads) {
    const long groups = channels / GROUP;
    const float least = relu ? 0.0f : -INFINITY;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long b = 0; b < batch; b++) {
        const uint16_t *image = x + b * cells * channels;
        uint16_t *out = y + b * cells * channels;
        float sum[WIDEST], square[WIDEST], scale[WIDEST], shift[WIDEST];
        memset(sum, 0, channels * sizeof *sum);
        memset(square, 0, channels * sizeof *square);
        for (long n = 0; n < cells; n++)
            for (long c = 0; c < channels; c++) {
                float value = widen(image[n * channels + c]);
                sum[c] += value;
                square[c] += value * value;
            }
        for (long g = 0; g < groups; g++) {
            double s = 0.0, q = 0.0, count = (double)(cells * GROUP);
            for (long c = g * GROUP; c < (g + 1) * GROUP; c++) {
                s += sum[c];
                q += square[c];
            }
            double m = s / count, variance = q / count - m * m;
            mean[b * groups + g] = (float)m;
            rstd[b * groups + g] = (float)(1.0 / sqrt((variance > 0.0 ? variance : 0.0) + eps));
        }
        affine(mean + b * groups, rstd + b * groups, weight, bias, channels, scale, shift);
        for (long n = 0; n < cells; n++)
            for (long c = 0; c < channels; c++) {
                float value = widen(image[n * channels + c]) * scale[c] + shift[c];
                out[n * channels + c] = narrow(value < least ? least : value);
            }
    }
}

/* dy -> dx, and for each image and channel the sums of dy (total) and of dy times the normalised x (normal), which are
 * the gradients of bias and weight. With a ReLU, dy counts where the output was above 0. */
void lotj_group_norm_backward(const uint16_t *dy, const uint16_t *x, const float *weight, const float *bias,
                              const float *mean, const float *rstd, uint16_t *dx, float *total, float *normal,
                              long batch, long cells, long channels, int relu, int threads) {
    const long groups = channels / GROUP;
    const float least = relu ? 0.0f : -INFINITY;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long b = 0; b < batch; b++) {
        const uint16_t *image = x + b * cells * channels, *up = dy + b * cells * channels;
        uint16_t *out = dx + b * cells * channels;
        float *sum = total + b * channels, *product = normal + b * channels;
        float scale[WIDEST], shift[WIDEST], by_x[WIDEST], constant[WIDEST];
        affine(mean + b * groups, rstd + b * groups, weight, bias, channels, scale, shift);
        memset(sum, 0, channels * sizeof *sum);
        memset(product, 0, channels * sizeof *product);
        for (long n = 0; n < cells; n++)
            for (long c = 0; c < channels; c++) {
                float value = widen(image[n * channels + c]);
                float gradient = value * scale[c] + shift[c] > least ? widen(up[n * channels + c]) : 0.0f;
                sum[c] += gradient;
                product[c] += gradient * value;
            }
        for (long g = 0; g < groups; g++) {
            float m = mean[b * groups + g], r = rstd[b * groups + g], first = 0.0f, second = 0.0f;
            for (long c = g * GROUP; c < (g + 1) * GROUP; c++) {
                product[c] = (product[c] - m * sum[c]) * r;
                first += weight[c] * sum[c];
                second += weight[c] * product[c];
            }
            float count = (float)(cells * GROUP);
            for (long c = g * GROUP; c < (g + 1) * GROUP; c++) {
                by_x[c] = -r * r * second / count;
                constant[c] = -r * first / count - by_x[c] * m;
            }
        }
        for (long n = 0; n < cells; n++)
            for (long c = 0; c < channels; c++) {
                float value = widen(image[n * channels + c]);
                float gradient = value * scale[c] + shift[c] > least ? widen(up[n * channels + c]) : 0.0f;
                out[n * channels + c] = narrow(gradient * scale[c] + value * by_x[c] + constant[c]);
            }
    }
}
