// 128-bit ids, with a number each when `Numbered`: open addressing, at most seven places of ten taken.
#pragma once
#include <cstdint>
#include <memory>

#include "buffer.hpp"

namespace {

struct Id {
    uint64_t first, second;
    bool operator==(const Id &other) const { return first == other.first && second == other.second; }
    bool zero() const { return !(first | second); }  // how a free place reads, so the id 0 has a place apart
};

template <bool Numbered> class IdMap {
public:
    int64_t size() const { return size_ + (zero_ >= 0); }

    // the number of each id (0 without numbers), -1 for those that are not there
    void find(const Id *id, int64_t count, int32_t *number) const {
        in_blocks(id, count, [&](int64_t i, uint64_t hash) {
            if (id[i].zero()) {
                number[i] = zero_;
                return;
            }
            const uint64_t place = locate(id[i], hash);
            number[i] = (*ids_)[place].zero() ? -1 : Numbered ? (*numbers_)[place] : 0;
        });
    }

    // new ids get their number; fresh[i] (unless null) says whether id[i] was new
    void add(const Id *id, int64_t count, const int32_t *number, bool *fresh) {
        reserve(size_ + count);
        in_blocks(id, count, [&](int64_t i, uint64_t hash) {
            bool added;
            if (id[i].zero()) {
                if ((added = zero_ < 0)) zero_ = Numbered ? number[i] : 0;
            } else {
                const uint64_t place = locate(id[i], hash);
                if ((added = (*ids_)[place].zero())) {
                    (*ids_)[place] = id[i];
                    if (Numbered) (*numbers_)[place] = number[i];
                    ++size_;
                }
            }
            if (fresh) fresh[i] = added;
        });
    }

    // ids that are there or not; whoever comes after a place that falls free moves up to it
    void remove(const Id *id, int64_t count) {
        for (int64_t i = 0; i < count; ++i) {
            if (id[i].zero()) {
                zero_ = -1;
                continue;
            }
            uint64_t gap = locate(id[i], hashed(id[i]));
            if ((*ids_)[gap].zero()) continue;
            --size_;
            for (uint64_t next = (gap + 1) & mask_; !(*ids_)[next].zero(); next = (next + 1) & mask_) {
                const uint64_t home = hashed((*ids_)[next]) & mask_;
                if (((next - home) & mask_) < ((next - gap) & mask_)) continue;  // its home lies behind the gap
                (*ids_)[gap] = (*ids_)[next];
                if (Numbered) (*numbers_)[gap] = (*numbers_)[next];
                gap = next;
            }
            (*ids_)[gap] = Id{0, 0};
        }
    }

private:
    static constexpr int64_t BLOCK = 64;  // ids whose places are fetched from memory at once

    static uint64_t hashed(Id id) {  // the caller's ids need not be spread evenly
        uint64_t value = id.first ^ (id.second * 0x9E3779B97F4A7C15ull);
        value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9ull;
        value = (value ^ (value >> 27)) * 0x94D049BB133111EBull;
        return value ^ (value >> 31);
    }

    uint64_t locate(Id id, uint64_t hash) const {  // its place, or the free one where it would go
        uint64_t place = hash & mask_;
        while (!(*ids_)[place].zero() && !((*ids_)[place] == id)) place = (place + 1) & mask_;
        return place;
    }

    void reserve(int64_t count) {
        uint64_t room = mask_ + 1;
        while (static_cast<uint64_t>(count) * 10 > room * 7) room *= 2;
        if (room == mask_ + 1) return;
        const auto old = std::move(ids_);
        const auto old_numbers = std::move(numbers_);
        const uint64_t before = mask_ + 1;
        allocate(room);
        for (uint64_t i = 0; i < before; ++i) {
            const Id id = (*old)[i];
            if (id.zero()) continue;
            const uint64_t place = locate(id, hashed(id));
            (*ids_)[place] = id;
            if (Numbered) (*numbers_)[place] = (*old_numbers)[i];
        }
    }

    void allocate(uint64_t room) {
        ids_ = std::make_unique<Buffer<Id>>(static_cast<int64_t>(room));
        numbers_ = std::make_unique<Buffer<int32_t>>(Numbered ? static_cast<int64_t>(room) : 0);
        mask_ = room - 1;
    }

    template <typename Work> void in_blocks(const Id *id, int64_t count, Work work) const {
        uint64_t hash[BLOCK];
        for (int64_t begin = 0; begin < count; begin += BLOCK) {
            const int64_t length = smaller(BLOCK, count - begin);
            for (int64_t i = 0; i < length; ++i) {
                hash[i] = hashed(id[begin + i]);
                __builtin_prefetch(&(*ids_)[hash[i] & mask_]);
            }
            for (int64_t i = 0; i < length; ++i) work(begin + i, hash[i]);
        }
    }

    uint64_t mask_ = 63;
    int64_t size_ = 0;
    int32_t zero_ = -1;  // the number of the id 0
    std::unique_ptr<Buffer<Id>> ids_ = std::make_unique<Buffer<Id>>(64);
    std::unique_ptr<Buffer<int32_t>> numbers_ = std::make_unique<Buffer<int32_t>>(Numbered ? 64 : 0);
};

}  // namespace
