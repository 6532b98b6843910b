// Compiled once per instruction set; SHORTLIST_ISA names the variant.
#include "codes.hpp"
#include "dense.hpp"
#include "forest.hpp"
#include "least_squares.hpp"
#include "pairwise.hpp"
#include "skip_gram.hpp"
#include "top.hpp"

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)

extern const Table JOIN(kernels_, SHORTLIST_ISA) = {
    TEXT(SHORTLIST_ISA), LANES,         BLOCK,      top_of_matrix, sum_of_rows, strongest_of_rows, pack, top_of_product,
    top_of_product_direct, products, top_of_spread, sum_of_spread, sums_of_spread, strongest_of_spread, upper_product, neighbours, descend, solve, strongest_of_squares, gram,
    skip_gram,
    pairwise_epoch, pairwise_fold,
    nearest_codes,
    dense,
    forest,
};
