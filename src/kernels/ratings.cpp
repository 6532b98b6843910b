// Predicting ratings: descent for factors with implied sets and drift, and the Gibbs sampler's draw of one factor.
// One plain build for every machine: both read at random what fits in cache.
#include <cfloat>

#include "python.hpp"
#include "random.hpp"

namespace {

using MutableArray = nb::ndarray<float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// Without branches: these look at every rating in every draw.
void check_finite(const float *value, size_t count, const char *name) {
    int odd = 0;
    for (size_t n = 0; n < count; ++n) odd |= !(std::fabs(value[n]) <= FLT_MAX);
    check(!odd, std::string(name) + " must be finite");
}

void check_inside(const Array<int32_t> &row, size_t rows, const char *name) {
    const int32_t *first = row.data();
    int out = 0;
    for (size_t n = 0; n < row.shape(0); ++n) out |= static_cast<uint32_t>(first[n]) >= static_cast<uint32_t>(rows);
    check(!out, std::string(name) + " must stay inside 0.." + std::to_string(static_cast<int64_t>(rows) - 1));
}

struct Descent {
    const int64_t *ptr;
    const int32_t *index;
    const float *value, *since;
    const int32_t *slot;
    const float *slot_reg;
    float *user, *item, *implied, *drift, *slot_bias;  // implied, drift and slot_bias may be null
    int64_t stride, factors;
    float rate, reg, reg_bias, reg_drift;
};

constexpr int64_t WIDE = 8;  // products summed side by side

// x . y of `dim` numbers, a multiple of WIDE
inline float product(const float *x, const float *y, int64_t dim) {
    float sums[WIDE] = {}, total = 0;
    for (int64_t d = 0; d < dim; d += WIDE)
        for (int64_t w = 0; w < WIDE; ++w) sums[w] += x[d + w] * y[d + w];
    for (const float each : sums) total += each;
    return total;
}

struct Spare {  // rows of one person, with zeros behind the factors
    explicit Spare(size_t dim) : sum(dim), slope(dim), whole(dim) {}
    std::vector<float> sum, slope, whole;  // of implied vectors; of errors times items; the person at one moment
};

// One person's ratings, in order. Column `factors` of an item is its bias, the one behind that of a person is theirs.
template <bool DRIFTS> void descend_person(const Descent &job, int64_t row, Spare &spare) {
    const int64_t start = job.ptr[row], stop = job.ptr[row + 1], K = job.factors, own = K, theirs = K + 1;
    if (start == stop) return;
    float *__restrict p = job.user + row * job.stride, *__restrict a = DRIFTS ? job.drift + row * job.stride : nullptr;
    float *__restrict sum = spare.sum.data(), *__restrict slope = spare.slope.data(), *__restrict whole = spare.whole.data();
    const auto count = static_cast<float>(stop - start);
    const float share = 1 / std::sqrt(count), rate = job.rate;
    std::fill(sum, sum + K, 0.0f);
    std::fill(slope, slope + K, 0.0f);
    if (job.implied)
        for (int64_t at = start; at < stop; ++at) {
            const float *y = job.implied + job.index[at] * job.stride;
            for (int64_t d = 0; d < K; ++d) sum[d] += share * y[d];
        }
    for (int64_t at = start; at < stop; ++at) {
        float *__restrict q = job.item + job.index[at] * job.stride, *slot = job.slot_bias ? job.slot_bias + job.slot[at] : nullptr;
        const float since = DRIFTS ? job.since[at] : 0;
        for (int64_t d = 0; d < K; ++d) whole[d] = p[d] + sum[d] + (DRIFTS ? since * a[d] : 0);
        const float bias = q[own] + p[theirs] + (slot ? *slot : 0) + (DRIFTS ? since * a[theirs] : 0);
        const float error = job.value[at] - bias - product(whole, q, job.stride);
        for (int64_t d = 0; d < K; ++d) {
            const float x = q[d];
            slope[d] += error * x;
            q[d] += rate * (error * whole[d] - job.reg * x);
            p[d] += rate * (error * x - job.reg * p[d]);
            if (DRIFTS) a[d] += rate * (error * since * x - job.reg_drift * a[d]);
        }
        q[own] += rate * (error - job.reg_bias * q[own]);
        p[theirs] += rate * (error - job.reg_bias * p[theirs]);
        if (DRIFTS) a[theirs] += rate * (error * since - job.reg_drift * a[theirs]);
        if (slot) *slot = (*slot + rate * error) / (1 + rate * job.slot_reg[job.slot[at]]);
    }
    if (!job.implied) return;
    const float keep = 1 / (1 + rate * job.reg * count);  // as many steps in one, towards 0 but never past it
    for (int64_t at = start; at < stop; ++at) {
        float *__restrict y = job.implied + job.index[at] * job.stride;
        for (int64_t d = 0; d < K; ++d) y[d] = keep * (y[d] + rate * share * slope[d]);
    }
}

void rating_epoch(const MutableMatrix &user, const MutableMatrix &item, const MutableMatrix &implied, const MutableMatrix &drift,
                  const Array<int64_t> &ptr, const Array<int32_t> &index, const Array<float> &value, const Array<float> &since,
                  const Array<int32_t> &slot, const MutableArray &slot_bias, const Array<float> &slot_reg, int64_t factors, float rate, float reg, float reg_bias,
                  float reg_drift, uint64_t seed) {
    const auto dim = static_cast<int64_t>(item.shape(1)), users = static_cast<int64_t>(user.shape(0));
    const size_t entries = index.shape(0);
    csr(ptr, index, value, static_cast<int64_t>(item.shape(0)));
    check(static_cast<int64_t>(ptr.shape(0)) == users + 1 && user.shape(1) == item.shape(1) && factors >= 0 && factors + 2 <= dim,
          "user must have a row for each list, and user and item two columns more than there are factors");
    check(dim % WIDE == 0, std::to_string(dim) + " dimensions: pad with zeros to a multiple of " + std::to_string(WIDE));
    const bool implies = implied.shape(0) > 0, drifts = drift.shape(0) > 0, slots = slot.shape(0) > 0;
    check(!implies || (implied.shape(0) == item.shape(0) && implied.shape(1) == item.shape(1)), "implied must be shaped as item, or empty");
    check(!drifts || (drift.shape(0) == user.shape(0) && drift.shape(1) == user.shape(1) && since.shape(0) == entries),
          "drift must be shaped as user, with a `since` for each rating, or empty");
    check(!slots || slot.shape(0) == entries, "slot must have one entry for each rating, or none");
    check_inside(slot, slot_bias.shape(0), "slot");
    check(slot_reg.shape(0) == slot_bias.shape(0), "slot_reg must have one entry for each slot");
    check_finite(value.data(), entries, "ratings");
    check_finite(since.data(), since.shape(0), "since");
    const Descent job{ptr.data(), index.data(), value.data(), since.data(), slot.data(), slot_reg.data(), user.data(), item.data(),
                      implies ? implied.data() : nullptr, drifts ? drift.data() : nullptr, slots ? slot_bias.data() : nullptr,
                      dim, factors, rate, reg, reg_bias, reg_drift};
    nb::gil_scoped_release release;
    std::vector<int64_t> order(static_cast<size_t>(users));
    std::iota(order.begin(), order.end(), int64_t{0});
    Random chance(seed, 0);
    for (int64_t left = users; left > 1; --left) std::swap(order[static_cast<size_t>(left - 1)], order[static_cast<size_t>(chance.below(left))]);
    Spare spare(item.shape(1));
    const auto descend = drifts ? descend_person<true> : descend_person<false>;
    for (const int64_t row : order) descend(job, row, spare);
}

struct Owner {  // of features, and of ratings
    float strength = 0, pull = 0;  // sums over their ratings of precision * x * x and precision * x * residual
    float moved = 0;  // how much their total has changed
};

// Gibbs: new weights for one factor of one side (Freudenthaler, Schmidt-Thieme, Rendle 2011). What the ratings say is
// gathered once for each owner; weights that many owners share are then drawn from that, not from the ratings.
void gibbs_factor(const MutableArray &residual, const Array<int32_t> &own, const Array<int32_t> &other, const Array<float> &precision,
                  const Array<float> &x, const Array<int64_t> &ptr, const Array<int32_t> &row, const Array<float> &value,
                  const MutableArray &weight, const MutableArray &total, const Array<float> &prior, const Array<float> &prior_precision,
                  uint64_t seed) {
    const size_t ratings = residual.shape(0), owners = total.shape(0), count = weight.shape(0);
    check(own.shape(0) == ratings && other.shape(0) == ratings && precision.shape(0) == ratings, "own, other and precision must have one entry for each rating");
    check(ptr.shape(0) == count + 1 && prior.shape(0) == count && prior_precision.shape(0) == count, "ptr and the priors must fit weight");
    csr(ptr, row, value, -1);
    check_inside(row, owners, "row");
    check_inside(own, owners, "own");
    check_inside(other, x.shape(0), "other");
    check_finite(residual.data(), ratings, "residuals");
    check(std::all_of(prior_precision.data(), prior_precision.data() + count, [](float each) { return each > 0; }), "prior precisions must be above 0");
    nb::gil_scoped_release release;
    std::vector<Owner> owned(owners);
    Owner *o = owned.data();
    float *e = residual.data(), *w = weight.data();
    const int32_t *mine = own.data(), *theirs = other.data(), *has = row.data();
    const float *y = x.data(), *known = precision.data(), *share = value.data();
    for (size_t n = 0; n < ratings; ++n) {
        const float each = y[theirs[n]], sure = known[n] * each;
        o[mine[n]].strength += sure * each;
        o[mine[n]].pull += sure * e[n];
    }
    Random chance(seed, 0);
    for (size_t f = 0; f < count; ++f) {
        const double before = prior_precision.data()[f];
        double sure = before, said = before * prior.data()[f];
        for (int64_t at = ptr.data()[f]; at < ptr.data()[f + 1]; ++at) {
            const Owner &each = o[has[at]];
            const float part = share[at] * each.strength;
            sure += share[at] * part;
            said += share[at] * each.pull - part * (each.moved - share[at] * w[f]);
        }
        const auto next = static_cast<float>(said / sure + chance.normal() / std::sqrt(sure)), change = next - w[f];
        for (int64_t at = ptr.data()[f]; at < ptr.data()[f + 1]; ++at) o[has[at]].moved += share[at] * change;
        w[f] = next;
    }
    for (size_t n = 0; n < owners; ++n) total.data()[n] += o[n].moved;
    for (size_t n = 0; n < ratings; ++n) e[n] -= y[theirs[n]] * o[mine[n]].moved;
}

}  // namespace

void bind_ratings(nb::module_ &m) {
    using namespace nb::literals;
    m.def("rating_epoch", &rating_epoch, "user"_a.noconvert(), "item"_a.noconvert(), "implied"_a.noconvert(), "drift"_a.noconvert(),
          "ptr"_a, "index"_a, "value"_a, "since"_a, "slot"_a, "slot_bias"_a.noconvert(), "slot_reg"_a, "factors"_a, "rate"_a, "reg"_a, "reg_bias"_a,
          "reg_drift"_a, "seed"_a);
    m.def("gibbs_factor", &gibbs_factor, "residual"_a.noconvert(), "own"_a, "other"_a, "precision"_a, "x"_a, "ptr"_a, "row"_a,
          "value"_a, "weight"_a.noconvert(), "total"_a.noconvert(), "prior"_a, "prior_precision"_a, "seed"_a);
}
