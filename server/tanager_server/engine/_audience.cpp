// The inner loops of audience_index.py, which says what they compute and why. They take time by the events of all users
// who may be in the audience, some nanoseconds for each.

#include <limits>

#include "_native.h"

namespace {

// Four sums side by side: B, T, text, and the weights that the text is divided by.
typedef float Four __attribute__((vector_size(16)));
typedef std::int32_t Bits __attribute__((vector_size(16)));

constexpr float kOut = -std::numeric_limits<float>::infinity();

// Rows of values in shared blocks, see state/ragged.py; views of arrays that the caller keeps.
template <typename T>
struct RaggedColumn {
  explicit RaggedColumn(const py::handle& blocks, const char* name) {
    for (const py::handle block : blocks) {
      const auto array = take<T>(block, 1, name);
      values.push_back(array.data());
      sizes.push_back(array.size());
    }
  }
  // Where a row lies. Nothing beyond its block is read, whatever start and length say.
  const T* row(std::int64_t start, std::int32_t length) const {
    const auto block = static_cast<std::size_t>(start >> 32);
    const auto offset = static_cast<std::int64_t>(start & 0xffffffff);
    if (length < 0 || block >= values.size() || offset + length > sizes[block]) throw py::index_error("no such row");
    return values[block] + offset;
  }
  std::vector<const T*> values;
  std::vector<std::int64_t> sizes;
};

// The users at one time.
struct People {
  explicit People(const py::kwargs& arrays)
      : numbers(arrays["numbers"], "numbers"),
        weights(arrays["weights"], "weights"),
        attributes(arrays["attributes"], "attributes"),
        starts(take<std::int64_t>(arrays["starts"], 1, "starts")),
        lengths(take<std::int32_t>(arrays["lengths"], 1, "lengths")),
        attribute_starts(take<std::int64_t>(arrays["attribute_starts"], 1, "attribute_starts")),
        attribute_lengths(take<std::int32_t>(arrays["attribute_lengths"], 1, "attribute_lengths")),
        allowed(take<std::uint8_t>(arrays["allowed"], 1, "allowed")),
        expected(take<float>(arrays["expected"], 2, "expected")) {
    const auto rows = std::min({starts.size(), lengths.size(), attribute_starts.size(), attribute_lengths.size(),
                                allowed.size(), expected.shape(0)});
    slots = static_cast<std::int64_t>(rows);
  }
  RaggedColumn<std::int32_t> numbers;
  RaggedColumn<float> weights;
  RaggedColumn<std::int32_t> attributes;
  Array<std::int64_t> starts;
  Array<std::int32_t> lengths;
  Array<std::int64_t> attribute_starts;
  Array<std::int32_t> attribute_lengths;
  Array<std::uint8_t> allowed;
  Array<float> expected;
  std::int64_t slots;
};

class Scorer {
 public:
  explicit Scorer(const py::kwargs& settings)
      : limit_(settings["history_limit"].cast<std::size_t>()),
        known_events_(settings["known_events"].cast<double>()),
        target_(settings["number"].cast<std::int32_t>()),
        prior_(settings["prior"].cast<float>()),
        prior_known_(settings["prior_known"].cast<float>()),
        attributes_(settings["attributes"].cast<std::vector<float>>()),
        sequence_(settings["sequence"].cast<std::vector<float>>()) {
    const double together = settings["collaborative"].cast<double>(),
                 together_half_life = settings["collaborative_half_life"].cast<double>(),
                 follows = settings["transitions"].cast<double>(),
                 follows_half_life = settings["transitions_half_life"].cast<double>(),
                 text = settings["history_text"].cast<double>(),
                 text_half_life = settings["history_text_half_life"].cast<double>();
    for (std::size_t age = 0; age < limit_; ++age) {
      const auto faded = [&](double half_life) { return std::exp2(-static_cast<double>(age) / half_life); };
      const double of_text = faded(text_half_life);
      recency_.push_back(Four{static_cast<float>(together * faded(together_half_life)),
                              static_cast<float>(follows * faded(follows_half_life)),
                              static_cast<float>(text * of_text), static_cast<float>(of_text)});
    }

    const auto positions = take<std::int32_t>(settings["positions"], 1, "positions");
    const auto alike = take<float>(settings["alike"], 1, "alike");
    const auto items = static_cast<std::size_t>(alike.size());
    const auto of_together = column(settings["neighbours"], items, "neighbours"),
               of_follows = column(settings["follows"], items, "follows");
    cells_.resize(static_cast<std::size_t>(positions.size()));
    all_known_ = true;
    for (std::size_t number = 0; number < cells_.size(); ++number) {
      const std::int32_t position = positions.data()[number];
      if (position >= 0 && static_cast<std::size_t>(position) < items) {
        cells_[number] = Four{of_together[position], of_follows[position], alike.data()[position], 1.0F};
      } else {
        cells_[number] = Four{0.0F, 0.0F, 0.0F, 0.0F};
        all_known_ = false;
      }
    }
  }

  // Other products with the item's text, by number.
  void correct(const Array<std::int32_t>& numbers, const Array<float>& alike) {
    if (numbers.ndim() != 1 || alike.ndim() != 1 || numbers.size() != alike.size()) {
      throw py::value_error("a product for each number");
    }
    for (py::ssize_t i = 0; i < numbers.size(); ++i) {
      const auto number = static_cast<std::uint32_t>(numbers.data()[i]);
      if (number >= cells_.size()) throw py::index_error("no such number");
      cells_[number][2] = alike.data()[i];
    }
  }

  // Scores of the users of some slots, into `scores`, minus infinity for those who are out; how many are not.
  std::int64_t score(const Array<std::int64_t>& slots, bool include_seen, Array<float>& scores,
                     const py::kwargs& arrays) const {
    const People people(arrays);
    if (slots.ndim() != 1 || scores.ndim() != 1 || scores.size() != slots.size()) {
      throw py::value_error("a score for each slot");
    }
    if (static_cast<std::size_t>(people.expected.shape(1)) != sequence_.size()) {
      throw py::value_error("what is expected next has as many dimensions as the vectors of the sequence");
    }
    const std::int64_t* slot = slots.data();
    float* into = scores.mutable_data();
    const auto count = static_cast<std::size_t>(slots.size());
    const py::gil_scoped_release others_may_run;
    return score_each(people, slot, count, include_seen, into);
  }

 private:
  static std::vector<float> column(const py::handle& value, std::size_t items, const char* name) {
    const auto arrays = value.cast<py::tuple>();
    if (arrays.size() != 2) throw py::value_error(std::string(name) + ": indices and weights");
    const auto indices = take<std::int32_t>(arrays[0], 1, name);
    const auto weights = take<float>(arrays[1], 1, name);
    if (indices.size() != weights.size()) throw py::value_error(std::string(name) + ": a weight for each index");
    std::vector<float> dense(items, 0.0F);
    for (py::ssize_t i = 0; i < indices.size(); ++i) {
      const auto position = static_cast<std::uint32_t>(indices.data()[i]);
      if (position >= items) throw py::index_error(std::string(name) + ": no such item");
      dense[position] += weights.data()[i];
    }
    return dense;
  }

  FOR_EACH_PROCESSOR
  std::int64_t score_each(const People& people, const std::int64_t* slots, std::size_t count, bool include_seen,
                          float* scores) const {
    constexpr std::size_t kAhead = 4;
    constexpr std::int32_t kLine = 16, kMostAhead = 128;  // events
    const std::int64_t* starts = people.starts.data();
    const std::int32_t* lengths = people.lengths.data();
    std::int64_t candidates = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const std::int64_t slot = slots[i];
      if (slot < 0 || slot >= people.slots) throw py::index_error("no such slot");
      if (i + kAhead < count && slots[i + kAhead] >= 0 && slots[i + kAhead] < people.slots) {
        const std::int64_t next = slots[i + kAhead];
        if (lengths[next] > 0) {
          const std::int32_t* numbers = people.numbers.row(starts[next], lengths[next]);
          const float* weights = people.weights.row(starts[next], lengths[next]);
          for (std::int32_t e = 0; e < std::min(lengths[next], kMostAhead); e += kLine) {
            __builtin_prefetch(numbers + e);
            __builtin_prefetch(weights + e);
          }
        }
      }
      scores[i] = people.allowed.data()[slot] ? of_user(people, slot, include_seen) : kOut;
      candidates += scores[i] != kOut;
    }
    return candidates;
  }

  // What an event of a weight adds, with so many later ones. Negative weights add to the weights of the text too.
  inline Four term(std::uint32_t number, float weight, std::size_t age) const {
    constexpr Bits kWithoutSignOfLast = {-1, -1, -1, 0x7fffffff};
    const Four all = {weight, weight, weight, weight};
    return reinterpret_cast<Four>(reinterpret_cast<Bits>(all) & kWithoutSignOfLast) * recency_[age] * cells_[number];
  }

  // The sums over events all of whose items are known, oldest first. Four at a time, as one addition waits for another.
  inline Four add_up(const std::int32_t* numbers, const float* weights, std::size_t events) const {
    Four sums[4] = {};
    std::size_t e = 0;
    for (; e + 4 <= events; e += 4) {
      for (std::size_t k = 0; k < 4; ++k) sums[k] += term(numbers[e + k], weights[e + k], events - 1 - e - k);
    }
    for (; e < events; ++e) sums[0] += term(numbers[e], weights[e], events - 1 - e);
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
  }

  inline float of_user(const People& people, std::int64_t slot, bool include_seen) const {
    const std::int32_t length = people.lengths.data()[slot];
    Four sums = {0.0F, 0.0F, 0.0F, 0.0F};
    std::size_t events = 0;
    if (length > 0) {
      const std::int64_t start = people.starts.data()[slot];
      const std::int32_t* numbers = people.numbers.row(start, length);
      const float* weights = people.weights.row(start, length);
      bool seen = false;
      std::uint32_t highest = 0;
      for (std::int32_t e = 0; e < length; ++e) {
        seen |= numbers[e] == target_;
        highest = std::max(highest, static_cast<std::uint32_t>(numbers[e]));
      }
      if (seen && !include_seen) return kOut;
      if (all_known_ && highest < cells_.size()) {
        events = std::min(static_cast<std::size_t>(length), limit_);
        sums = add_up(numbers + (length - events), weights + (length - events), events);
      } else {
        for (std::int32_t e = length; e-- > 0 && events < limit_;) {
          const auto number = static_cast<std::uint32_t>(numbers[e]);
          if (number >= cells_.size() || cells_[number][3] == 0.0F) continue;
          sums += term(number, weights[e], events++);
        }
      }
    }
    const double share = events > 0 ? static_cast<double>(events) / (static_cast<double>(events) + known_events_) : 0.0;
    const auto known = static_cast<float>(share);
    float score = sums[0] + sums[1] + (sums[3] > 0.0F ? sums[2] / sums[3] : 0.0F) + prior_ + known * prior_known_;
    const std::int32_t attributes = people.attribute_lengths.data()[slot];
    if (attributes > 0) {
      const std::int32_t* rows = people.attributes.row(people.attribute_starts.data()[slot], attributes);
      float sum = 0.0F;
      for (std::int32_t a = 0; a < attributes; ++a) {
        const auto row = static_cast<std::uint32_t>(rows[a]);
        if (row < attributes_.size()) sum += attributes_[row];
      }
      score += (1.0F - known) * sum;
    }
    if (!sequence_.empty()) {
      score += dot(people.expected.data() + slot * static_cast<std::int64_t>(sequence_.size()), sequence_.data(),
                   sequence_.size());
    }
    return score;
  }

  std::size_t limit_;
  double known_events_;
  std::int32_t target_;
  float prior_, prior_known_;
  std::vector<float> attributes_, sequence_;  // by row of A, with its weight in the score; of the item
  std::vector<Four> recency_;                 // weights in the score by the number of later events
  std::vector<Four> cells_;  // by number: what an event of weight 1 adds; the last is 0 where there is no item
  bool all_known_;
};

// Widened before they are multiplied: there is an instruction for products of pairs of 16 bits, and their sums.
FOR_EACH_PROCESSOR
void multiply_bytes(const std::int8_t* rows, std::size_t count, const std::int16_t* vector, std::size_t dim,
                    std::int32_t* products) {
  constexpr std::size_t kPart = 128;
  std::int16_t wide[kPart];
  for (std::size_t i = 0; i < count; ++i) {
    std::int32_t sum = 0;
    for (std::size_t from = 0; from < dim; from += kPart) {
      const std::size_t size = std::min(kPart, dim - from);
      const std::int8_t* part = rows + i * dim + from;
      if (size == kPart) {
        for (std::size_t d = 0; d < kPart; ++d) wide[d] = part[d];
        for (std::size_t d = 0; d < kPart; ++d) sum += static_cast<std::int32_t>(wide[d]) * vector[from + d];
      } else {
        for (std::size_t d = 0; d < size; ++d) sum += static_cast<std::int32_t>(part[d]) * vector[from + d];
      }
    }
    products[i] = sum;
  }
}

// products[i] = <rows[i], vector>, of numbers in a byte each.
void products(const Array<std::int8_t>& rows, const Array<std::int8_t>& vector, Array<std::int32_t>& into) {
  if (rows.ndim() != 2 || vector.ndim() != 1 || into.ndim() != 1 || rows.shape(1) != vector.size() ||
      rows.shape(0) != into.size()) {
    throw py::value_error("rows, a vector as long as they are, and a number for each");
  }
  const std::int8_t* from = rows.data();
  const std::vector<std::int16_t> with(vector.data(), vector.data() + vector.size());
  std::int32_t* to = into.mutable_data();
  const auto count = static_cast<std::size_t>(rows.shape(0)), dim = static_cast<std::size_t>(rows.shape(1));
  const py::gil_scoped_release others_may_run;
  multiply_bytes(from, count, with.data(), dim, to);
}

}  // namespace

PYBIND11_MODULE(_audience, module) {
  module.doc() = "One item's score for many users.";
  module.def("products", &products, py::arg("rows").noconvert(), py::arg("vector").noconvert(),
             py::arg("into").noconvert());
  py::class_<Scorer>(module, "Scorer")
      .def(py::init<const py::kwargs&>())
      .def("correct", &Scorer::correct, py::arg("numbers").noconvert(), py::arg("alike").noconvert())
      .def("score", &Scorer::score, py::arg("slots").noconvert(), py::arg("include_seen"),
           py::arg("scores").noconvert());
}
