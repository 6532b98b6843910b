// Codes of bits compared with a question's: those that differ in the fewest places. Ties by place.
#pragma once
#include "buffer.hpp"
#include "table.hpp"

namespace {

inline int32_t bits_apart(const uint64_t *a, const uint64_t *b, int64_t words) {
    int32_t apart = 0;
    for (int64_t word = 0; word < words; ++word) apart += __builtin_popcountll(a[word] ^ b[word]);
    return apart;
}

template <int64_t WORDS> void compare(const CodesJob &job, const uint64_t *asked, uint16_t *apart) {
    const int64_t words = WORDS ? WORDS : job.words;
    for (int64_t place = 0; place < job.size; ++place)
        apart[place] = static_cast<uint16_t>(bits_apart(job.code + place * words, asked, words));
}

void nearest_codes(const CodesJob &job, int64_t begin, int64_t end) {
    const int64_t most = 64 * job.words;
    Buffer<uint16_t> apart(job.size);
    Buffer<int64_t> often(most + 1);
    for (int64_t query = begin; query < end; ++query) {
        const uint64_t *asked = job.asked + query * job.words;
        if (job.words == 4) {
            compare<4>(job, asked, apart);
        } else {
            compare<0>(job, asked, apart);
        }
        for (int64_t bits = 0; bits <= most; ++bits) often[bits] = 0;
        for (int64_t place = 0; place < job.size; ++place) often[apart[place]] += !job.open || job.open[place];
        int64_t cut = 0, below = 0;  // how far apart the last that are taken are, and how many are nearer
        while (cut < most && below + often[cut] < job.count) below += often[cut++];
        int64_t tied = smaller(often[cut], job.count - below);
        int64_t *out = job.out + query * job.count;
        for (int64_t place = 0; place < job.size; ++place) {
            if (apart[place] > cut || (job.open && !job.open[place])) continue;
            if (apart[place] < cut || tied-- > 0) *out++ = place;
        }
        while (out < job.out + (query + 1) * job.count) *out++ = -1;
    }
}

}  // namespace
