// Where a row lies while a team of threads works on it: in registers, in shared memory, or left in global memory.
//
// Each thread has its own pieces and never reads another's, so none of these needs a barrier (but the gathered
// candidates of a streamed row). A piece is `kWidth` neighbouring elements: 16 bytes where the rows are aligned to them,
// else one element. The pieces of neighbouring threads are neighbours in memory.
#pragma once

#include "numbers.h"
#include "row_forward.h"

#ifdef __CUDACC__
#include <cuda_fp16.h>
#endif

namespace labelset {
namespace cuda {

LABELSET_DEVICE float to_float(float value) { return value; }
LABELSET_DEVICE void round_into(float& rounded, float value) { rounded = value; }
#ifdef __CUDACC__
LABELSET_DEVICE float to_float(__half value) { return __half2float(value); }
LABELSET_DEVICE void round_into(__half& rounded, float value) { rounded = __float2half_rn(value); }
#endif

// Moved by one instruction of up to 16 bytes.
template <class T, int kWidth>
struct alignas(sizeof(T) * kWidth < 16 ? sizeof(T) * kWidth : 16) Piece {
    T elements[kWidth];
};

// One row of an array in global memory, seen by one thread.
template <class T, int kWidth>
struct Pieces {
    T* row;
    int piece_count;
    int first;   // this thread's first piece
    int stride;  // from one of its pieces to the next

    template <class Team>
    LABELSET_DEVICE Pieces(T* start_of_row, int class_count, const Team& team)
        : row(start_of_row), piece_count(class_count / kWidth), first(team.rank()), stride(team.size()) {}

    LABELSET_DEVICE void load(int piece, float (&values)[kWidth]) const {
        const auto loaded = reinterpret_cast<const Piece<T, kWidth>*>(row)[piece];
#pragma unroll
        for (int i = 0; i < kWidth; ++i) values[i] = to_float(loaded.elements[i]);
    }

    LABELSET_DEVICE void store(int piece, const float (&values)[kWidth]) const {
        Piece<T, kWidth> rounded;
#pragma unroll
        for (int i = 0; i < kWidth; ++i) round_into(rounded.elements[i], values[i]);
        reinterpret_cast<Piece<T, kWidth>*>(row)[piece] = rounded;
    }
};

// At most `kPieces` pieces a thread, all in registers.
template <class T, int kWidth, int kPieces>
class RegisterRow {
public:
    static constexpr bool kHoldsRow = true;

    LABELSET_DEVICE RegisterRow(Pieces<const T, kWidth> logits, Pieces<T, kWidth> probabilities)
        : logits_(logits), probabilities_(probabilities) {}

    template <class Visit>
    LABELSET_DEVICE void read(const Visit& visit) {
        // All loads first, so that they are under way together.
#pragma unroll
        for (int j = 0; j < kPieces; ++j) {
            const int piece = logits_.first + j * logits_.stride;
#pragma unroll
            for (int i = 0; i < kWidth; ++i) values_[j][i] = -kInfinity;
            if (piece < logits_.piece_count) logits_.load(piece, values_[j]);
        }
        for_each(visit);
    }

    template <class Visit>
    LABELSET_DEVICE void for_each(const Visit& visit) const {
#pragma unroll
        for (int j = 0; j < kPieces; ++j) {
#pragma unroll
            for (int i = 0; i < kWidth; ++i) visit(values_[j][i]);
        }
    }

    template <class Map>
    LABELSET_DEVICE void replace(const Map& map) {
#pragma unroll
        for (int j = 0; j < kPieces; ++j) {
#pragma unroll
            for (int i = 0; i < kWidth; ++i) values_[j][i] = map(values_[j][i]);
        }
    }

    template <class Map>
    LABELSET_DEVICE void write(const Map& map) {
        replace(map);
#pragma unroll
        for (int j = 0; j < kPieces; ++j) {
            const int piece = probabilities_.first + j * probabilities_.stride;
            if (piece < probabilities_.piece_count) probabilities_.store(piece, values_[j]);
        }
    }

    template <class Team>
    LABELSET_DEVICE Neighbours find_neighbours(const Bracket& bracket, int rank, int size, Team& team) const {
        return cuda::find_neighbours(*this, bracket, rank, size, team);
    }

private:
    Pieces<const T, kWidth> logits_;
    Pieces<T, kWidth> probabilities_;
    float values_[kPieces][kWidth];
};

// How many floats of shared memory a block of `thread_count` needs for `piece_count` pieces among `team_size` threads.
constexpr int64_t shared_floats(int64_t piece_count, int width, int64_t thread_count, int64_t team_size) {
    return (piece_count + team_size - 1) / team_size * width * thread_count;
}

// Any number of pieces a thread, in its block's shared memory.
template <class T, int kWidth>
class SharedRow {
public:
    static constexpr bool kHoldsRow = true;

    // `storage`: shared_floats(...), aligned to 16 bytes.
    template <class Team>
    LABELSET_DEVICE SharedRow(Pieces<const T, kWidth> logits, Pieces<T, kWidth> probabilities, float* storage,
                              const Team& team)
        : logits_(logits),
          probabilities_(probabilities),
          quads_(reinterpret_cast<Quad*>(storage) + team.block_rank()),
          quad_stride_(team.block_size()),
          own_quads_(logits.first < logits.piece_count
                         ? ((logits.piece_count - logits.first - 1) / logits.stride + 1) * kQuadsInPiece
                         : 0) {}

    template <class Visit>
    LABELSET_DEVICE void read(const Visit& visit) {
        int quad = 0;
        for (int piece = logits_.first; piece < logits_.piece_count; piece += logits_.stride) {
            float values[kWidth];
            logits_.load(piece, values);
#pragma unroll
            for (int i = 0; i < kWidth; ++i) visit(values[i]);
#pragma unroll
            for (int i = 0; i < kWidth; i += kQuad, ++quad) put(quad, values + i);
        }
    }

    template <class Visit>
    LABELSET_DEVICE void for_each(const Visit& visit) const {
#pragma unroll 4
        for (int quad = 0; quad < own_quads_; ++quad) {
            const Quad values = quads_[quad * quad_stride_];
#pragma unroll
            for (int i = 0; i < kQuad; ++i) visit(values.elements[i]);
        }
    }

    template <class Map>
    LABELSET_DEVICE void replace(const Map& map) {
#pragma unroll 4
        for (int quad = 0; quad < own_quads_; ++quad) {
            Quad values = quads_[quad * quad_stride_];
#pragma unroll
            for (int i = 0; i < kQuad; ++i) values.elements[i] = map(values.elements[i]);
            quads_[quad * quad_stride_] = values;
        }
    }

    template <class Map>
    LABELSET_DEVICE void write(const Map& map) const {
        int quad = 0;
        for (int piece = probabilities_.first; piece < probabilities_.piece_count; piece += probabilities_.stride) {
            float values[kWidth];
#pragma unroll
            for (int i = 0; i < kWidth; i += kQuad, ++quad) {
                const Quad entries = quads_[quad * quad_stride_];
#pragma unroll
                for (int q = 0; q < kQuad; ++q) values[i + q] = map(entries.elements[q]);
            }
            probabilities_.store(piece, values);
        }
    }

    template <class Team>
    LABELSET_DEVICE Neighbours find_neighbours(const Bracket& bracket, int rank, int size, Team& team) const {
        return cuda::find_neighbours(*this, bracket, rank, size, team);
    }

private:
    // The quads of neighbouring threads are neighbours, so that a warp meets no bank twice.
    static constexpr int kQuad = kWidth < 4 ? kWidth : 4;
    static constexpr int kQuadsInPiece = kWidth / kQuad;
    using Quad = Piece<float, kQuad>;

    LABELSET_DEVICE void put(int quad, const float* values) {
        Quad stored;
#pragma unroll
        for (int i = 0; i < kQuad; ++i) stored.elements[i] = values[i];
        quads_[quad * quad_stride_] = stored;
    }

    Pieces<const T, kWidth> logits_;
    Pieces<T, kWidth> probabilities_;
    Quad* quads_;
    int quad_stride_;
    int own_quads_;
};

// Candidates for the cut, gathered in shared memory by all threads of a block.
class GatheredRow {
public:
    template <class Team>
    LABELSET_DEVICE GatheredRow(const float* entries, int count, const Team& team)
        : entries_(entries), count_(count), first_(team.block_rank()), stride_(team.block_size()) {}

    template <class Visit>
    LABELSET_DEVICE void for_each(const Visit& visit) const {
        for (int i = first_; i < count_; i += stride_) visit(entries_[i]);
    }

private:
    const float* entries_;
    int count_;
    int first_;
    int stride_;
};

// A row too large to be held: read once for its summary, once for the sum of its masses, once to be written. Meanwhile
// shared memory takes the entries close to the cut, as a sample foretells it; should it be wrong, every pass reads all.
template <class T, int kWidth, class Team>
class StreamedRow {
public:
    static constexpr bool kHoldsRow = false;

    // `storage`: room for `capacity` floats in each block.
    LABELSET_DEVICE StreamedRow(Pieces<const T, kWidth> logits, Pieces<T, kWidth> probabilities, double rate,
                                float* storage, int capacity, Team& team)
        : logits_(logits), probabilities_(probabilities), gathered_(storage), capacity_(capacity), team_(team) {
        foretell(rate);
    }

    template <class Visit>
    LABELSET_DEVICE void read(const Visit& visit) {
        for_each([&](float logit) {
            visit(logit);
            above_band_ += logit > band_high_;
            if (logit >= band_low_ && logit <= band_high_) {
                const int slot = team_.claim();
                if (slot < capacity_) gathered_[slot] = logit;
            }
        });
        team_.sync();
    }

    template <class Visit>
    LABELSET_DEVICE void for_each(const Visit& visit) const {
#pragma unroll 4
        for (int piece = logits_.first; piece < logits_.piece_count; piece += logits_.stride) {
            float values[kWidth];
            logits_.load(piece, values);
#pragma unroll
            for (int i = 0; i < kWidth; ++i) visit(values[i]);
        }
    }

    template <class Map>
    LABELSET_DEVICE void write(const Map& map) const {
        for (int piece = logits_.first; piece < logits_.piece_count; piece += logits_.stride) {
            float values[kWidth];
            logits_.load(piece, values);
#pragma unroll
            for (int i = 0; i < kWidth; ++i) values[i] = map(values[i]);
            probabilities_.store(piece, values);
        }
    }

    LABELSET_DEVICE Neighbours find_neighbours(const Bracket& whole, int rank, int size, Team& team) const {
        const int claimed = team.claimed(), above = team.sum(above_band_);
        const bool fits = team.sum(int(claimed > capacity_)) == 0;
        const int candidates = team.sum(team.block_rank() == 0 ? claimed : 0);
        // Both neighbours must be among the candidates.
        if (!fits || rank - 1 <= above || rank > above + candidates)
            return cuda::find_neighbours(*this, whole, rank, size, team);
        const Bracket band{fmaxf(band_low_, whole.low), fminf(band_high_, whole.high), candidates, 0};
        return cuda::find_neighbours(GatheredRow(gathered_, claimed, team), band, rank - above, candidates, team);
    }

private:
    // Ranks a sample of one piece a thread: the cut lies between two of its quantiles, but for a chance of 1 : 10^4.
    LABELSET_DEVICE void foretell(double rate) {
        const int step = logits_.piece_count / logits_.stride;
        Pieces<const T, kWidth> sampled = logits_;
        sampled.first *= step;
        sampled.piece_count = step == 0 ? 0 : logits_.piece_count;
        RegisterRow<T, kWidth, 1> sample(sampled, probabilities_);
        const Summary summary = read_and_summarise(sample, team_);
        const float size = float(summary.unmasked);
        const float rank = (1 - float(rate)) * size;
        const float margin = 4 * sqrtf(fmaxf(rank * (1 - rank / size), 0)) + 4;
        const Bracket whole{summary.lowest, summary.highest, summary.unmasked, 0};
        band_low_ = -FLT_MAX;
        band_high_ = FLT_MAX;
        // Without a sound sample the band stays as wide as it is; `map_row` then finds out what is wrong.
        if (!(summary.highest < kInfinity && rank >= 0 && rank <= size)) return;
        if (rank + margin < size)
            band_low_ = cuda::find_neighbours(sample, whole, int(rank + margin), summary.unmasked, team_).lower;
        if (rank - margin >= 2)
            band_high_ = cuda::find_neighbours(sample, whole, int(rank - margin), summary.unmasked, team_).upper;
    }

    Pieces<const T, kWidth> logits_;
    Pieces<T, kWidth> probabilities_;
    float* gathered_;
    int capacity_;
    Team& team_;
    float band_low_;
    float band_high_;
    int above_band_ = 0;
};

}  // namespace cuda
}  // namespace labelset
