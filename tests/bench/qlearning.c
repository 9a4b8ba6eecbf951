/* The loop of rldf_utils.sweep for Q-learning, by hand: the limit that the compiled Python is measured against. */
#include <stdint.h>

typedef struct { unsigned __int128 state, step; } stream; /* numpy's PCG64 */

static double uniform(stream *s) {
    s->state = s->state * (((unsigned __int128)0x2360ed051fc65da4ULL << 64) | 0x4385df649fccf645ULL) + s->step;
    uint64_t word = (uint64_t)(s->state >> 64) ^ (uint64_t)s->state;
    unsigned turn = s->state >> 122;
    word = (word >> turn) | (word << (-turn & 63));
    return (word >> 11) * (1.0 / 9007199254740992.0);
}

static void best(const double *row, int actions, double *top, int *ties, int *first) {
    *top = row[0], *ties = 1, *first = 0;
    for (int a = 1; a < actions; a++)
        if (row[a] > *top)
            *top = row[a], *ties = 1, *first = a;
        else
            *ties += row[a] == *top;
}

void q_learning(double *q, int size, int actions, stream *agent, stream *starts, const int32_t *transitions, const double *rewards,
                const uint8_t *ends, int target, double epsilon, double alpha, double gamma, int max_steps, long steps, int32_t *out, double *paid) {
    int32_t *states = out, *actions_out = out + steps, *episodes = out + 2 * steps;
    int state = 0, t = 0, ended = 1, episode = -1, ties, first;
    double top;
    for (long k = 0; k < steps; k++) {
        if (ended) {
            state = uniform(starts) * (size - 1);
            state += state >= target;
            episode++, t = 0;
            best(q + state * actions, actions, &top, &ties, &first);
        }
        double u = uniform(agent);
        int action = first;
        if (u < epsilon)
            action = u / epsilon * actions;
        else if (ties > 1) {
            int skip = (u - epsilon) / (1 - epsilon) * ties;
            for (skip = skip < ties ? skip : ties - 1; skip; skip -= q[state * actions + action] == top)
                action++;
        }
        int arrived = transitions[state * actions + action];
        ended = ends[arrived];
        best(q + arrived * actions, actions, &top, &ties, &first);
        double *value = q + state * actions + action;
        *value += alpha * (rewards[arrived] + gamma * (ended ? 0 : top) - *value);
        if (arrived == state)
            best(q + state * actions, actions, &top, &ties, &first);
        states[k] = arrived, actions_out[k] = action, episodes[k] = episode, paid[k] = rewards[arrived];
        ended |= ++t >= max_steps;
        state = arrived;
    }
}
