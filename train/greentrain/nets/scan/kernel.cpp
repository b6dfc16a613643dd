// The selective scan on a CPU: forward, and backward with the states recomputed chunk by chunk.
//
// What is computed stands in reference.py; this says how. A vector of LANES numbers holds the states of one channel
// (N >= LANES, then several vectors), or those of several channels where N is smaller: lane = channel * NP + state, with
// NP the power of two from N up. Time runs in chunks of T steps whose buffers stay in the first-level cache. A task is a
// block of channels of one sample and one group; tasks share nothing that they write, and their number does not depend
// on the number of threads, so neither do the results. Loop order: task, chunk, channels, states, time; forward:
// task, run of chunks, channels, chunk, states, time. The backward pass keeps to single chunks, as it adds to dB and dC.
//
// exp is computed as 2^z = 2^round(z) * p(z - round(z)), p a polynomial of degree 6 (relative error 1e-7 in float).

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>

#if defined(__AVX512F__)
#include <immintrin.h>
#define VECTOR_BYTES 64
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

typedef void (*Parallel)(void (*)(void *), void *, unsigned, unsigned);  // GOMP_parallel's type

struct Args {  // the same fields in native.py
    const void *u, *delta, *A, *B, *C, *D, *bias;  // D and bias may be null
    void *y, *state;                               // state: where each chunk starts, or null if no backward follows
    const void *dy;
    void *du, *ddelta, *dA, *dB, *dC, *dD, *dbias;  // dA (batch, D, N); dB, dC (batch, G, blocks, N, L); dD, dbias (batch, D)
    int64_t batch, groups, width, states, length;   // width: channels of a group
    int64_t block;                                  // channels of a task
    int64_t softplus, threads;
    Parallel parallel;  // torch's own OpenMP pool where it was found, or null
};

namespace {

constexpr int T = 64;
constexpr int RUN = 16;  // chunks of a channel that the forward pass takes one after another: it reads u in long pieces

template <class R> struct Lanes {
    static constexpr int n = VECTOR_BYTES / sizeof(R);
    typedef R V __attribute__((vector_size(VECTOR_BYTES)));
};

template <class V, class R> inline V load(const R *p) {
    V v;
    std::memcpy(&v, p, sizeof(V));
    return v;
}

template <class V, class R> inline void store(R *p, V v) { std::memcpy(p, &v, sizeof(V)); }

typedef Lanes<float>::V VF;
typedef Lanes<double>::V VD;
typedef int32_t VI __attribute__((vector_size(VECTOR_BYTES)));

inline VF exp2v(VF z) {
#if defined(__AVX512F__)
    z = (VF)_mm512_max_ps((__m512)(VF{} - 150.0f), (__m512)z);  // this way round a NaN passes
    const VF whole = (VF)_mm512_roundscale_ps((__m512)z, 8);
    const VF f = z - whole;
#else
    const VF low = VF{} - 126.0f, high = VF{} + 127.99f;
    z = z < low ? low : z;  // comparisons this way round let a NaN through
    z = z > high ? high : z;
    const VF shifted = z + 12582912.0f;  // 1.5 * 2^23: the low bits now hold round(z)
    const VF f = z - (shifted - 12582912.0f);
#endif
    VF p = f * 1.5466987317218716e-4f + 1.3399618760979617e-3f;
    p = p * f + 9.61803735502784e-3f;
    p = p * f + 5.5503300057977906e-2f;
    p = p * f + 0.2402265107219863f;
    p = p * f + 0.6931472046057543f;
    p = p * f + 1.0f;
#if defined(__AVX512F__)
    return (VF)_mm512_scalef_ps((__m512)p, (__m512)whole);
#else
    return (VF)((VI)p + ((VI)shifted << 23));
#endif
}

inline VD exp2v(VD z) {
    for (int i = 0; i < Lanes<double>::n; ++i) z[i] = std::exp2(z[i]);
    return z;
}

template <class V> inline V expv(V x) { return exp2v(x * (decltype(x[0] + 0))1.4426950408889634074); }

inline VF log1pv(VF e) {  // 0 <= e <= 1, by the series of 2 artanh(e / (2 + e))
    const VF s = e / (e + 2.0f), q = s * s;
    VF p = q * (1.0f / 15) + 1.0f / 13;
    p = p * q + 1.0f / 11;
    p = p * q + 1.0f / 9;
    p = p * q + 1.0f / 7;
    p = p * q + 1.0f / 5;
    p = p * q + 1.0f / 3;
    return 2.0f * s + 2.0f * s * q * p;
}

inline VD log1pv(VD e) {
    for (int i = 0; i < Lanes<double>::n; ++i) e[i] = std::log1p(e[i]);
    return e;
}

template <class V> inline V softplus(V x) {  // torch's: x itself above 20
    const V zero = V{};
    const V size = x < zero ? -x : x, part = x > zero ? x : zero;
    const V soft = part + log1pv(expv(-size));
    return x > (V{} + 20) ? x : soft;
}

template <class V> inline V softplus_slope(V x) {
    const V one = V{} + 1;
    return x > (V{} + 20) ? one : one / (one + expv(-x));
}

// --- Rows of lanes to time series and back -------------------------------------------------------------------------
// fold: n rows (one a step) of lanes (channel, state) to P = n / NP vectors over time, summed over states.
// spread: P vectors over time to n rows in which every state of a channel holds the channel's value.
// Both are butterflies of n log n shuffles.

template <class V, int n, int K, size_t... I> inline V low(V a, V b, std::index_sequence<I...>) {
#if defined(__clang__) || __GNUC__ >= 12
    return __builtin_shufflevector(a, b, (int)((I & K) ? n + I - K : I)...);
#else
    return V{((I & K) ? b[I & ~(size_t)K] : a[I])...};
#endif
}

template <class V, int n, int K, size_t... I> inline V high(V a, V b, std::index_sequence<I...>) {
#if defined(__clang__) || __GNUC__ >= 12
    return __builtin_shufflevector(a, b, (int)((I & K) ? n + I : I + K)...);
#else
    return V{((I & K) ? b[I] : a[I | K])...};
#endif
}

template <class V, int n, int NP, int r, size_t... I> inline V repeat(V a, std::index_sequence<I...>) {
#if defined(__clang__) || __GNUC__ >= 12
    return __builtin_shufflevector(a, a, (int)((I & ~(size_t)(NP - 1)) | r)...);
#else
    return V{a[(I & ~(size_t)(NP - 1)) | r]...};
#endif
}

template <class V, int n, int NP> struct Butterfly {
    static constexpr int P = n / NP;

    template <int K> static inline void add(V *v) {  // 2 vectors to 1, until those of a channel's states are one
        if constexpr (K < NP) {
            constexpr std::make_index_sequence<n> all{};
            for (int i = 0; i < n / (2 * K); ++i) v[i] = low<V, n, K>(v[2 * i], v[2 * i + 1], all) + high<V, n, K>(v[2 * i], v[2 * i + 1], all);
            add<2 * K>(v);
        }
    }

    template <int K> static inline void transpose(V *v) {  // bits of the vector's index against those of the channel
        if constexpr (K < n) {
            constexpr std::make_index_sequence<n> all{};
            constexpr int bit = K / NP;
            for (int i = 0; i < P; ++i)
                if (!(i & bit)) {
                    const V a = v[i], b = v[i | bit];
                    v[i] = low<V, n, K>(a, b, all);
                    v[i | bit] = high<V, n, K>(a, b, all);
                }
            transpose<2 * K>(v);
        }
    }

    static inline void fold(const V *rows, V *out) {
        V v[n];
        for (int i = 0; i < n; ++i) v[i] = rows[i];
        add<1>(v);
        transpose<NP>(v);
        for (int p = 0; p < P; ++p) out[p] = v[p];
    }

    template <size_t... r> static inline void repeat_all(V a, V *rows, std::index_sequence<r...>) {
        constexpr std::make_index_sequence<n> all{};
        ((rows[r] = repeat<V, n, NP, (int)r>(a, all)), ...);
    }

    static inline void spread(const V *in, V *rows) {
        V v[P];
        for (int p = 0; p < P; ++p) v[p] = in[p];
        transpose<NP>(v);
        for (int i = 0; i < P; ++i) repeat_all(v[i], rows + i * NP, std::make_index_sequence<NP>{});
    }
};

// --- The kernel ----------------------------------------------------------------------------------------------------

template <class R, int NP> struct Scan {
    static constexpr int n = Lanes<R>::n, P = n / NP;
    typedef typename Lanes<R>::V V;
    typedef Butterfly<V, n, NP> Fly;

    const Args &a;
    const int64_t vectors, chunks, bundles, blocks;  // vectors of a bundle of P channels, bundles of a group

    explicit Scan(const Args &args)
        : a(args), vectors((args.states + NP - 1) / NP), chunks((args.length + T - 1) / T),
          bundles((args.width + P - 1) / P), blocks((args.width + args.block - 1) / args.block) {}

    // What a task is about.
    struct Place {
        int64_t b, g, k, first, count;  // sample, group, block, first channel within the group, channels
        int64_t bg;
    };

    Place place(int64_t task) const {
        Place p;
        p.k = task % blocks;
        p.bg = task / blocks;
        p.g = p.bg % a.groups;
        p.b = p.bg / a.groups;
        p.first = p.k * a.block;
        p.count = std::min(a.block, a.width - p.first);
        return p;
    }

    int64_t channel(const Place &p, int64_t c) const { return p.g * a.width + p.first + c; }  // in 0..D
    int64_t series(const Place &p, int64_t c) const {  // offset of a channel's time series in (batch, D, L)
        return (p.b * a.groups * a.width + channel(p, c)) * a.length;
    }

    int steps_of(int64_t chunk) const { return (int)std::min<int64_t>(T, a.length - chunk * T); }

    V *state(const Place &p, int64_t chunk, int64_t bundle) const {
        const int64_t at = (p.bg * chunks + chunk) * bundles + p.first / P + bundle;
        return (V *)a.state + at * vectors;
    }

    // Steps t0.. of B or C (states, length) as rows of lanes, repeated for each of P channels; zero past the last state.
    void rows_of(const void *from, const Place &p, int64_t t0, int steps, V *out) const {
        const R *x = (const R *)from + p.bg * a.states * a.length + t0;
        std::memset((void *)out, 0, sizeof(V) * vectors * T);
        for (int64_t s = 0; s < a.states; ++s) {
            R *column = (R *)(out + (s / NP) * T) + s % NP;
            for (int t = 0; t < steps; ++t)
                for (int q = 0; q < P; ++q) column[t * n + q * NP] = x[s * a.length + t];
        }
    }

    // The decays of a bundle of channels, times `scale`, as lanes.
    void decays(const Place &p, int64_t c, R scale, V *out) const {
        for (int64_t v = 0; v < vectors; ++v)
            for (int lane = 0; lane < n; ++lane) {
                const int64_t q = c + lane / NP, s = v * NP + lane % NP;
                const bool real = q < p.count && s < a.states;
                out[v][lane] = real ? scale * ((const R *)a.A)[channel(p, q) * a.states + s] : R(0);
            }
    }

    // A chunk of the series of P channels; zero past the end.
    struct Series {
        R x[P][T] __attribute__((aligned(VECTOR_BYTES)));
    };

    void read(const void *from, const Place &p, int64_t c, int64_t t0, int steps, Series &out) const {
        if (steps < T || c + P > p.count) std::memset((void *)&out, 0, sizeof(Series));
        for (int q = 0; q < P && c + q < p.count; ++q)
            std::memcpy(out.x[q], (const R *)from + series(p, c + q) + t0, sizeof(R) * steps);
    }

    // The next channels lie L numbers on, where no hardware looks for them.
    void prefetch(const Place &p, int64_t c, int64_t t0, const void *from) const {
        for (int q = 0; q < P && c + q < p.count; ++q) {
            const char *line = (const char *)((const R *)from + series(p, c + q) + t0);
            for (size_t i = 0; i < T * sizeof(R); i += 64) __builtin_prefetch(line + i, 0, 2);
        }
    }

    void write(const Series &from, const Place &p, int64_t c, int64_t t0, int steps, void *to) const {
        for (int q = 0; q < P && c + q < p.count; ++q)
            std::memcpy((R *)to + series(p, c + q) + t0, from.x[q], sizeof(R) * steps);
    }

    R bias_of(const Place &p, int64_t c) const {
        return a.bias && c < p.count ? ((const R *)a.bias)[channel(p, c)] : R(0);
    }

    // delta to the step size d, in place, and d * u. Past the end d is 0, a step that changes no state: loops over time
    // may run to a whole number of vectors.
    void step_sizes(const Place &p, int64_t c, int steps, Series &delta, const Series &u, Series &du) const {
        for (int q = 0; q < P; ++q) {
            const R bias = bias_of(p, c + q);
            for (int t = 0; t < steps; t += n) {
                V d = load<V>(delta.x[q] + t) + bias;
                if (a.softplus) d = softplus(d);
                store(delta.x[q] + t, d);
                store(du.x[q] + t, d * load<V>(u.x[q] + t));
            }
            for (int t = steps; t % n; ++t) delta.x[q][t] = du.x[q][t] = R(0);
        }
    }

    // A series as something that gives a row of lanes for each step.
    struct Row {
        const R *one;  // NP == n: one channel, its value fills the row
        V rows[NP == n ? 1 : T];
        inline V operator[](int t) const {
            if constexpr (NP == n)
                return one[t] - V{};  // x - 0 is x, so only a broadcast
            else
                return rows[t];
        }
    };

    static void row(const Series &x, int rounded, Row &out) {
        out.one = x.x[0];
        if constexpr (NP != n)
            for (int t = 0; t < rounded; t += n) {
                V v[P];
                for (int q = 0; q < P; ++q) v[q] = load<V>(x.x[q] + t);
                Fly::spread(v, out.rows + t);
            }
    }

    // Rows of the steps t .. t + n, summed over the states, into `out`, or added to what is there.
    static inline void fold(const V *rows, int t, bool add, Series &out) {
        V v[P];
        Fly::fold(rows, v);
        for (int q = 0; q < P; ++q) store(out.x[q] + t, add ? load<V>(out.x[q] + t) + v[q] : v[q]);
    }

    void forward(int64_t task) const {
        const Place p = place(task);
        const int64_t mine = (p.count + P - 1) / P;
        std::vector<V> h(mine * vectors, V{}), decay(mine * vectors);
        const int64_t run = std::min<int64_t>(RUN, chunks), rows = vectors * T;
        std::vector<V> Bt(run * rows), Ct(run * rows);
        for (int64_t i = 0; i < mine; ++i) decays(p, i * P, R(1.4426950408889634074), &decay[i * vectors]);
        for (int64_t first = 0; first < chunks; first += run) {
            const int64_t end = std::min(first + run, chunks);
            for (int64_t chunk = first; chunk < end; ++chunk) {
                rows_of(a.B, p, chunk * T, steps_of(chunk), &Bt[(chunk - first) * rows]);
                rows_of(a.C, p, chunk * T, steps_of(chunk), &Ct[(chunk - first) * rows]);
            }
            for (int64_t i = 0; i < mine; ++i)
                for (int64_t chunk = first; chunk < end; ++chunk) {
                    const int64_t at = (chunk - first) * rows;
                    V *hi = &h[i * vectors];
                    if (a.state) std::memcpy((void *)state(p, chunk, i), hi, sizeof(V) * vectors);
                    forward_bundle(p, i * P, chunk * T, steps_of(chunk), &decay[i * vectors], &Bt[at], &Ct[at], hi);
                }
        }
    }

    void forward_bundle(const Place &p, int64_t c, int64_t t0, int steps, const V *decay, const V *Bt, const V *Ct, V *h) const {
        Series u, d, du, y;
        Row dr, dur;
        const int rounded = (steps + n - 1) / n * n;
        prefetch(p, c + P, t0, a.u), prefetch(p, c + P, t0, a.delta), prefetch(p, c + P, t0, a.y);
        read(a.u, p, c, t0, steps, u);
        read(a.delta, p, c, t0, steps, d);
        step_sizes(p, c, steps, d, u, du);
        row(d, rounded, dr);
        row(du, rounded, dur);
        for (int64_t v = 0; v < vectors; ++v) {
            const V A = decay[v], *const Bv = Bt + v * T, *const Cv = Ct + v * T;
            V x = h[v];
            for (int tile = 0; tile < rounded; tile += n) {
                V part[n];
#pragma GCC unroll 16
                for (int j = 0; j < n; ++j) {
                    const int t = tile + j;
                    x = exp2v(dr[t] * A) * x + dur[t] * Bv[t];
                    part[j] = x * Cv[t];
                }
                fold(part, tile, v > 0, y);
            }
            h[v] = x;
        }
        if (a.D)
            for (int q = 0; q < P && c + q < p.count; ++q) {
                const R D = ((const R *)a.D)[channel(p, c + q)];
                for (int t = 0; t < rounded; ++t) y.x[q][t] += D * u.x[q][t];
            }
        write(y, p, c, t0, steps, a.y);
    }

    struct Sums {  // over time, of a block of channels
        std::vector<V> dA;
        std::vector<R> dD, dbias;
    };

    void backward(int64_t task) const {
        const Place p = place(task);
        const int64_t mine = (p.count + P - 1) / P;
        std::vector<V> carry(mine * vectors, V{}), decay(mine * vectors), Bt(vectors * T), Ct(vectors * T), dBt(vectors * T),
            dCt(vectors * T);
        Sums sums{std::vector<V>(mine * vectors, V{}), std::vector<R>(mine * P, R(0)), std::vector<R>(mine * P, R(0))};
        for (int64_t i = 0; i < mine; ++i) decays(p, i * P, R(1), &decay[i * vectors]);
        for (int64_t chunk = chunks - 1; chunk >= 0; --chunk) {
            const int64_t t0 = chunk * T;
            const int steps = steps_of(chunk);
            rows_of(a.B, p, t0, steps, Bt.data());
            rows_of(a.C, p, t0, steps, Ct.data());
            std::fill(dBt.begin(), dBt.end(), V{});
            std::fill(dCt.begin(), dCt.end(), V{});
            int64_t i = 0;
            for (; i + 2 <= mine; i += 2)
                backward_bundles<2>(p, i, chunk, steps, &decay[i * vectors], Bt.data(), Ct.data(), dBt.data(), dCt.data(),
                                    &carry[i * vectors], sums);
            for (; i < mine; ++i)
                backward_bundles<1>(p, i, chunk, steps, &decay[i * vectors], Bt.data(), Ct.data(), dBt.data(), dCt.data(),
                                    &carry[i * vectors], sums);
            write_rows(dBt.data(), p, t0, steps, a.dB);
            write_rows(dCt.data(), p, t0, steps, a.dC);
        }
        for (int64_t c = 0; c < p.count; ++c) {
            const int64_t at = p.b * a.groups * a.width + channel(p, c);
            for (int64_t s = 0; s < a.states; ++s)
                ((R *)a.dA)[at * a.states + s] = sums.dA[(c / P) * vectors + s / NP][(c % P) * NP + s % NP];
            ((R *)a.dD)[at] = sums.dD[c];
            ((R *)a.dbias)[at] = sums.dbias[c];
        }
    }

    // Rows of lanes, summed over the P channels, to a block's (states, length).
    void write_rows(const V *rows, const Place &p, int64_t t0, int steps, void *to) const {
        R *out = (R *)to + (p.bg * blocks + p.k) * a.states * a.length + t0;
        for (int64_t s = 0; s < a.states; ++s)
            for (int t = 0; t < steps; ++t) {
                const R *column = (const R *)(rows + (s / NP) * T + t) + s % NP;
                R sum = 0;
                for (int q = 0; q < P; ++q) sum += column[q * NP];
                out[s * a.length + t] = sum;
            }
    }

    // What one bundle of channels needs in the backward pass over a chunk.
    struct Bundle {
        Series u, raw, d, du, dy, s1, s2;  // raw: delta as given; s1, s2: what reaches d u, and d through exp
        Row dr, dur, dyr;
        V e[T], h[T + 1];  // exp(d A), and the states from the one before the chunk on
    };

    // M bundles at a time, so that what is added to dB and dC goes through memory once for all of them.
    template <int M>
    void backward_bundles(const Place &p, int64_t i, int64_t chunk, int steps, const V *decay, const V *Bt, const V *Ct, V *dBt,
                          V *dCt, V *carry, Sums &sums) const {
        Bundle x[M];
        const int64_t t0 = chunk * T;
        const int rounded = (steps + n - 1) / n * n;
        for (int m = 0; m < M; ++m) prepare(p, (i + m) * P, t0, steps, rounded, x[m]);
        for (int m = 0; m < M; ++m)
            for (const void *next : {a.u, a.delta, a.dy, (const void *)a.du, (const void *)a.ddelta})
                prefetch(p, (i + M + m) * P, t0, next);
        for (int64_t v = 0; v < vectors; ++v) {
            const V *const Bv = Bt + v * T, *const Cv = Ct + v * T;
            V *const dBv = dBt + v * T, *const dCv = dCt + v * T;
            V A[M], g[M], dA[M];
            for (int m = 0; m < M; ++m) {
                A[m] = decay[m * vectors + v], g[m] = carry[m * vectors + v], dA[m] = V{};
                const V A2 = A[m] * R(1.4426950408889634074);
                V h = x[m].h[0] = state(p, chunk, i + m)[v];
                for (int t = 0; t < rounded; ++t) {
                    x[m].e[t] = exp2v(x[m].dr[t] * A2);
                    x[m].h[t + 1] = h = x[m].e[t] * h + x[m].dur[t] * Bv[t];
                }
            }
            for (int tile = rounded - n; tile >= 0; tile -= n) {
                V by_du[M][n], by_d[M][n];
                for (int j = n - 1; j >= 0; --j) {
                    const int t = tile + j;
                    const V b = Bv[t], c = Cv[t];
                    V db = dBv[t], dc = dCv[t];
                    for (int m = 0; m < M; ++m) {
                        const V dy = x[m].dyr[t];
                        g[m] += dy * c;
                        dc += dy * x[m].h[t + 1];
                        db += x[m].dur[t] * g[m];
                        by_du[m][j] = g[m] * b;
                        g[m] *= x[m].e[t];
                        const V late = g[m] * x[m].h[t];
                        dA[m] += x[m].dr[t] * late;
                        by_d[m][j] = late * A[m];
                    }
                    dBv[t] = db, dCv[t] = dc;
                }
                for (int m = 0; m < M; ++m) {
                    fold(by_du[m], tile, v > 0, x[m].s1);
                    fold(by_d[m], tile, v > 0, x[m].s2);
                }
            }
            for (int m = 0; m < M; ++m) {
                carry[m * vectors + v] = g[m];
                sums.dA[(i + m) * vectors + v] += dA[m];
            }
        }
        for (int m = 0; m < M; ++m) {
            const int64_t c = (i + m) * P;
            for (int q = 0; q < P && c + q < p.count; ++q) finish(p, c + q, q, rounded, x[m], sums);
            write(x[m].s1, p, c, t0, steps, a.du);
            write(x[m].s2, p, c, t0, steps, a.ddelta);
        }
    }

    void prepare(const Place &p, int64_t c, int64_t t0, int steps, int rounded, Bundle &x) const {
        read(a.u, p, c, t0, steps, x.u);
        read(a.delta, p, c, t0, steps, x.raw);
        read(a.dy, p, c, t0, steps, x.dy);
        x.d = x.raw;
        step_sizes(p, c, steps, x.d, x.u, x.du);
        row(x.d, rounded, x.dr);
        row(x.du, rounded, x.dur);
        row(x.dy, rounded, x.dyr);
    }

    // From what reaches d u (s1) and d (s2) to what reaches u (into s1) and delta (into s2).
    void finish(const Place &p, int64_t c, int q, int rounded, Bundle &x, Sums &sums) const {
        const R D = a.D ? ((const R *)a.D)[channel(p, c)] : R(0), bias = bias_of(p, c);
        V dD = V{}, dbias = V{};
        for (int t = 0; t < rounded; t += n) {
            const V by_du = load<V>(x.s1.x[q] + t), u = load<V>(x.u.x[q] + t), dy = load<V>(x.dy.x[q] + t);
            V by_d = by_du * u + load<V>(x.s2.x[q] + t);
            if (a.softplus) by_d = by_d * softplus_slope(load<V>(x.raw.x[q] + t) + bias);
            store(x.s1.x[q] + t, by_du * load<V>(x.d.x[q] + t) + dy * D);
            store(x.s2.x[q] + t, by_d);
            dD += dy * u;
            dbias += by_d;  // zero past the end
        }
        for (int lane = 0; lane < n; ++lane) {
            sums.dD[c] += dD[lane];
            sums.dbias[c] += dbias[lane];
        }
    }
};

// --- Threads and choice of the variant -----------------------------------------------------------------------------

template <class S> struct Job {
    const S &scan;
    bool backward;
    int64_t tasks;
    std::atomic<int64_t> next{0};

    static void work(void *self) {
        Job &job = *(Job *)self;
        for (int64_t task; (task = job.next.fetch_add(1)) < job.tasks;)
            job.backward ? job.scan.backward(task) : job.scan.forward(task);
    }
};

template <class R, int NP> void run(const Args &a, bool backward) {
    const Scan<R, NP> scan(a);
    Job<Scan<R, NP>> job{scan, backward, a.batch * a.groups * scan.blocks};
    const int64_t threads = std::max<int64_t>(1, std::min(a.threads, job.tasks));
    if (threads == 1) return Job<Scan<R, NP>>::work(&job);
    if (a.parallel) return a.parallel(Job<Scan<R, NP>>::work, &job, (unsigned)threads, 0);
    std::vector<std::thread> others;
    for (int64_t i = 1; i < threads; ++i) others.emplace_back(Job<Scan<R, NP>>::work, &job);
    Job<Scan<R, NP>>::work(&job);
    for (auto &other : others) other.join();
}

template <class R, int NP> void dispatch(const Args &a, bool backward) {
    if constexpr (NP < Lanes<R>::n)
        if (a.states > NP) return dispatch<R, 2 * NP>(a, backward);
    run<R, NP>(a, backward);
}

}  // namespace

extern "C" void greentrain_scan_f32(const Args *a, int backward) { dispatch<float, 1>(*a, backward); }
extern "C" void greentrain_scan_f64(const Args *a, int backward) { dispatch<double, 1>(*a, backward); }
