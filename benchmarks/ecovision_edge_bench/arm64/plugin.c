/* Counts the instructions of the guest's first thread; a TCG plugin for QEMU's user mode, 64-bit Arm guests.
 *
 * The guest marks a point of its program by prctl(MARK, label). No kernel has that option: it answers EINVAL, as
 * QEMU does, so a mark changes nothing. Each writes one line to QEMU's log (-d plugin -D FILE):
 *
 *     mark LABEL FIRST OTHERS
 *
 * FIRST: instructions that the guest's first thread has executed since the program started; exact, as nobody else
 * adds to that counter. OTHERS: what all other threads have executed, each with a counter of its own. It is there to
 * show when work is done where FIRST does not see it. As a process ends it writes the same once more:
 *
 *     end FIRST OTHERS
 *
 * With the argument mix=on, prctl(MARK, label, 1) also writes what the first thread has executed so far, one line
 * for each 32-bit instruction word:
 *
 *     word HEX TIMES
 */

#include <inttypes.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The part of QEMU's plugin API that is used here, in version 1, which QEMU 7.2 of Debian 12 has. No Debian package
 * has its header, so it is declared from the documentation, https://www.qemu.org/docs/master/devel/tcg-plugins.html.
 * QEMU refuses a plugin whose version it does not know. */
#define EXPORTED __attribute__((visibility("default")))

typedef uint64_t plugin_id;
struct qemu_plugin_tb;   /* a translation block: instructions that run one after the other */
struct qemu_plugin_insn; /* one of them */

typedef void on_translation_fn(plugin_id, struct qemu_plugin_tb *);
typedef void on_endfn(plugin_id, void *data);
typedef void on_block_fn(unsigned int cpu, void *data);
typedef void on_syscall_fn(plugin_id, unsigned int cpu, int64_t number, uint64_t, uint64_t, uint64_t, uint64_t,
                           uint64_t, uint64_t, uint64_t, uint64_t);
enum { CALLBACK_READS_NO_REGISTERS = 0 };

void qemu_plugin_outs(const char *text);
void qemu_plugin_register_atexit_cb(plugin_id id, on_endfn *call, void *data);
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, on_translation_fn *call);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *block, on_block_fn *call, int flags, void *data);
void qemu_plugin_register_vcpu_syscall_cb(plugin_id id, on_syscall_fn *call);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t index);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);

EXPORTED int qemu_plugin_version = 1;
EXPORTED int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv);

enum { PRCTL = 167 };       /* number of the system call on arm64 */
enum { MARK = 0x45436f76 }; /* "ECov"; as in guest.py */
enum { BUCKET_BITS = 16 };
enum { THREADS = 4096 }; /* QEMU numbers them in the order of their start; beyond, some share a counter */

struct word {
    struct word *next;
    uint64_t times;
    uint32_t bits;
};

struct block {
    size_t length;
    struct word *words[]; /* with mix=on */
};

static uint64_t executed[THREADS]; /* by each thread; that of the first is 0 */
static int mix;
static struct word *buckets[1 << BUCKET_BITS];
static pthread_mutex_t buckets_lock = PTHREAD_MUTEX_INITIALIZER;

static void *allocate(size_t size)
{
    void *memory = calloc(1, size);
    if (!memory)
        abort();
    return memory;
}

static struct word *word_of(uint32_t bits)
{
    /* Knuth's multiplicative hash: the upper bits are the mixed ones. */
    struct word **at = &buckets[(bits * UINT32_C(2654435761)) >> (32 - BUCKET_BITS)];
    while (*at && (*at)->bits != bits)
        at = &(*at)->next;
    if (!*at) {
        *at = allocate(sizeof **at);
        (*at)->bits = bits;
    }
    return *at;
}

static void on_block(unsigned int cpu, void *data)
{
    struct block *block = data;
    executed[cpu % THREADS] += block->length;
    if (mix && cpu == 0)
        for (size_t i = 0; i < block->length; i++)
            block->words[i]->times++;
}

static void on_translation(plugin_id id, struct qemu_plugin_tb *translated)
{
    size_t length = qemu_plugin_tb_n_insns(translated);
    /* Never freed: the block may be executed until the process ends. */
    struct block *block = allocate(sizeof *block + (mix ? length * sizeof *block->words : 0));
    block->length = length;
    if (mix) {
        pthread_mutex_lock(&buckets_lock);
        for (size_t i = 0; i < length; i++) {
            uint32_t bits;
            memcpy(&bits, qemu_plugin_insn_data(qemu_plugin_tb_get_insn(translated, i)), sizeof bits);
            block->words[i] = word_of(bits);
        }
        pthread_mutex_unlock(&buckets_lock);
    }
    qemu_plugin_register_vcpu_tb_exec_cb(translated, on_block, CALLBACK_READS_NO_REGISTERS, block);
    (void)id;
}

static uint64_t other_threads(void)
{
    uint64_t sum = 0;
    for (size_t i = 1; i < THREADS; i++)
        sum += executed[i];
    return sum;
}

static void on_end(plugin_id id, void *data)
{
    char line[80];
    snprintf(line, sizeof line, "end %" PRIu64 " %" PRIu64 "\n", executed[0], other_threads());
    qemu_plugin_outs(line);
    (void)id, (void)data;
}

static void on_syscall(plugin_id id, unsigned int cpu, int64_t number, uint64_t option, uint64_t label,
                       uint64_t words, uint64_t d, uint64_t e, uint64_t f, uint64_t g, uint64_t h)
{
    char line[80];
    if (number != PRCTL || option != MARK)
        return;
    snprintf(line, sizeof line, "mark %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", label, executed[0], other_threads());
    qemu_plugin_outs(line);
    if (mix && words) {
        pthread_mutex_lock(&buckets_lock);
        for (size_t i = 0; i < sizeof buckets / sizeof *buckets; i++)
            for (struct word *word = buckets[i]; word; word = word->next)
                if (word->times) {
                    snprintf(line, sizeof line, "word %08" PRIx32 " %" PRIu64 "\n", word->bits, word->times);
                    qemu_plugin_outs(line);
                }
        pthread_mutex_unlock(&buckets_lock);
    }
    (void)id, (void)cpu, (void)d, (void)e, (void)f, (void)g, (void)h;
}

int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    for (int i = 0; i < argc; i++)
        mix |= strcmp(argv[i], "mix=on") == 0;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
    qemu_plugin_register_atexit_cb(id, on_end, NULL);
    (void)info;
    return 0;
}
