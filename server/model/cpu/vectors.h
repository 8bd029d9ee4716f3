/* Vectors of sixteen floats, whatever the CPU: the compiler makes them of its registers. */
#include <stdint.h>

#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__)
#define EACH_CPU __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define EACH_CPU
#endif

#define ALWAYS_INLINE inline __attribute__((always_inline))

enum { TILE = 16 };

/* Sixteen floats (GCC's and Clang's vector extension); memory is read and written wherever it lies. */
typedef float vec __attribute__((vector_size(4 * TILE)));
typedef float unaligned_vec __attribute__((vector_size(4 * TILE), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(4 * TILE)));
#define LOAD(address) (*(unaligned_vec *)(address))

/* Lanes of `yes` where `mask` is all ones, of `no` where it is zero. */
static ALWAYS_INLINE vec choose(ivec mask, vec yes, vec no) { return (vec)((mask & (ivec)yes) | (~mask & (ivec)no)); }

/* e^x for x <= 0, to a few units in the last place (Cephes' expf polynomial); NaN stays NaN. */
static ALWAYS_INLINE vec exponential(vec x)
{
    x = choose(x < -87.0f, (vec){} - 87.0f, x);
    const ivec n = __builtin_convertvector(x * 1.44269504f - 0.5f, ivec); /* to the nearest, as x is not positive */
    const vec rounded = __builtin_convertvector(n, vec);
    const vec r = (x - rounded * 0.693359375f) + rounded * 2.12194440e-4f;
    vec p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return p * (vec)((n + 127) << 23);
}
