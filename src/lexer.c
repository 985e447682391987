/*
 * Finds the lexer that asks whether a word is a keyword: its buffer, and the byte that it hides
 * under the NUL behind the word.
 *
 * Why is this needed? The server calls the keyword table's hash function with the word alone, and
 * not only from its lexer. quote_identifier() asks about strings in memory that was used before;
 * what stands behind their NUL is left over from something else. And in the lexer the byte behind
 * the word decides: `aws, iam REVOKE` is two columns, the second with an alias.
 *
 * Where is it? In flex's struct, to which core_yylex() has no global pointer. But everybody between
 * raw_parser() and here works with it, so that its address is on the stack or in a register that
 * has been saved there. Its first member points to the data that raw_parser() keeps on its own
 * stack.
 *
 * What if something else looks like it? It would have to be readable, to point into the stack at a
 * struct with the address of ScanKeywords and a buffer in which the word is, and to say that flex
 * stands just behind the word. All of it can be left over from a parse that is over; so before
 * anything is written, dsql_iam_lexer_is_live() makes sure that raw_parser() has not returned. It
 * unwinds the stack, which takes microseconds, and is not asked for each word.
 *
 * What if it is not found? The word is left alone. syntax.rs tries it when the server starts, and says
 * so if it fails.
 */
#include "server.h"

#include "common/keywords.h"
#include "parser/scanner.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <unwind.h>

/* In parser/gramparse.h, which 16 and newer do not install. */
extern int	base_yyparse(core_yyscan_t yyscanner);

/* How far up the stack raw_parser() may be: six frames, some more without optimisation. */
#define MAX_FRAMES 32
/* And in bytes: the parser's own stack, of 200 entries, takes most of it. */
#define MAX_STACK 32768
/* How many blanks behind a word are looked at: more than anybody indents a line. */
#define MAX_BLANKS 256
/* Pages may be larger; none are smaller. */
#define PAGE_MASK ((uintptr_t) 4095)

/* The beginning of flex's struct yyguts_t, as flex 2.5.4 and newer write it for a reentrant scanner. */
typedef struct Flex
{
	core_yy_extra_type *extra;
	void	   *in;
	void	   *out;
	size_t		buffer_stack_top;
	size_t		buffer_stack_max;
	void	   *buffer_stack;
	char		hold_char;
	int			n_chars;
	int			leng;
	char	   *c_buf_p;
} Flex;

/* Mirrors `port::RawLexer`. */
typedef struct DsqlIamLexer
{
	char	   *buffer;
	size_t		len;
	char		hidden;
	const void *extra;
} DsqlIamLexer;

#ifdef SYS_rt_sigprocmask
/*
 * Whether the eight bytes at an aligned address can be read. Tried on x86-64 and on 64-bit Arm, with pages of 4 and
 * of 16 kB, and under qemu's emulation. The kernel reads the set before it finds
 * that there is no such operation: EFAULT if it cannot, EINVAL if it can. As AddressIsReadable() of
 * Abseil does it.
 */
static bool
is_readable_set(uintptr_t address)
{
	return syscall(SYS_rt_sigprocmask, ~0, address, NULL, 8) == -1 && errno == EINVAL;
}
#endif

/* The same with another system call, for where the first does not work: it cannot tell PROT_NONE. */
static bool
is_mapped(uintptr_t address)
{
	uintptr_t	page = (uintptr_t) sysconf(_SC_PAGESIZE);
	unsigned char state;

	return mincore((void *) (address & ~(page - 1)), 1, (void *) &state) == 0;
}

/* The one that works here. */
static bool (*probe) (uintptr_t address) = NULL;

static bool
is_readable(uintptr_t address)
{
	int			before = errno;
	bool		readable = probe != NULL && probe(address);

	errno = before;
	return readable;
}

/* Chooses how to tell whether memory can be read. False if there is no way. */
bool
dsql_iam_lexer_prepare(void)
{
	void	   *page = mmap(NULL, PAGE_MASK + 1, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool		tells_closed = false;

	if (page == MAP_FAILED)
		return false;
#ifdef SYS_rt_sigprocmask
	probe = is_readable_set;
	tells_closed = !is_readable((uintptr_t) page);
#endif
	munmap(page, PAGE_MASK + 1);
	if (tells_closed && !is_readable((uintptr_t) page) && is_readable((uintptr_t) &ScanKeywords))
		return true;
	probe = is_mapped;
	if (!is_readable((uintptr_t) page) && is_readable((uintptr_t) &ScanKeywords))
		return true;
	probe = NULL;
	return false;
}

/* Whether `extra`, on the stack, is raw_parser()'s and has the word in its buffer. */
static bool
fits(const core_yy_extra_type *extra, const char *word, size_t len)
{
	return extra->keywordlist == &ScanKeywords && extra->keyword_tokens == ScanKeywordTokens &&
		word >= extra->scanbuf && word + len <= extra->scanbuf + extra->scanbuflen;
}

/* Looks through the stack from here on. */
static pg_noinline bool
find(const char *word, size_t len, DsqlIamLexer *out)
{
	uintptr_t	start = (uintptr_t) __builtin_frame_address(0) & ~(uintptr_t) (sizeof(void *) - 1);
	uintptr_t	end = start;
	const core_yy_extra_type *extra = NULL;

	/* First the data that raw_parser() keeps there: other callers mostly have none. */
	for (uintptr_t at = start; extra == NULL; at += sizeof(void *))
	{
		while (end < at + sizeof(*extra))
		{
			end = (end | PAGE_MASK) + 1;
			if (end - start > MAX_STACK || !is_readable(end - sizeof(void *)))
				return false;
		}
		if (fits((const core_yy_extra_type *) at, word, len))
			extra = (const core_yy_extra_type *) at;
	}
	/* Then who points to it. Each look costs a system call, and raw_parser() is near its own data. */
	for (uintptr_t at = (uintptr_t) extra; at > start;)
	{
		const Flex *flex = *(const Flex **) (at -= sizeof(void *));

		if (flex == NULL || (uintptr_t) flex % sizeof(void *) != 0 ||
			((uintptr_t) flex >= start && (uintptr_t) flex < end) ||
			!is_readable((uintptr_t) flex) || flex->extra != extra ||
			!is_readable((uintptr_t) &flex->c_buf_p) || flex->c_buf_p != word + len)
			continue;
		out->buffer = extra->scanbuf;
		out->len = extra->scanbuflen;
		out->hidden = flex->hold_char;
		out->extra = extra;
		return true;
	}
	return false;
}

/*
 * Whether a word that starts with the two letters `next` can follow the word and the byte behind it, as
 * far as that shows on the same page of memory, which can be read since the word is on it. If the lexer asks, that is the query; if
 * somebody else does, it is whatever stands there, and says nothing. It spares almost every such word
 * the search of the stack.
 */
bool
dsql_iam_lexer_may_follow(const char *word, size_t len, const char *next)
{
	/* Volatile, since this is behind the end of what a compiler may think is there. */
	const volatile char *first = word + len + 1;
	const volatile char *at;

	for (at = first; at < first + MAX_BLANKS; at++)
	{
		char		second;

		if (((uintptr_t) at & PAGE_MASK) == 0)
			return true;
		/* The hidden byte may be the first of the two that begin a comment. */
		if (at == first && (*at == '-' || *at == '*'))
			return true;
		switch (*at)
		{
			case ' ':
			case '\t':
			case '\n':
			case '\v':
			case '\f':
			case '\r':
				continue;
			case '-':
				second = '-';
				break;
			case '/':
				second = '*';
				break;
			default:
				if (pg_ascii_tolower((unsigned char) *at) != next[0])
					return false;
				second = next[1];
				break;
		}
		at++;
		return ((uintptr_t) at & PAGE_MASK) == 0 || pg_ascii_tolower((unsigned char) *at) == second;
	}
	return true;
}

/*
 * Fills `out` and gives true, if there is a lexer that stands behind this word.
 */
bool
dsql_iam_lexer(const char *word, size_t len, DsqlIamLexer *out)
{
	bool		found;

	/* Saves all registers in this frame, which has to be there while find() looks. */
	__builtin_unwind_init();
	found = find(word, len, out);
	/* Keeps the call a call: a tail call would take the frame away first. */
	__asm__ volatile ("" : "+r" (found));
	return found;
}

/* The frames found while the stack is unwound. */
typedef struct Frames
{
	int			count;
	int			from_parser;
	const void *extra;
	bool		is_live;
} Frames;

/* Whether `extra` is in the frame that called base_yyparse(), or the one above it. */
static _Unwind_Reason_Code
visit(struct _Unwind_Context *context, void *argument)
{
	Frames	   *frames = argument;

	if (++frames->count > MAX_FRAMES)
		return _URC_NORMAL_STOP;
	if (frames->from_parser == 0)
	{
		if ((void *) _Unwind_GetRegionStart(context) == (void *) base_yyparse)
			frames->from_parser = 1;
	}
	else if (++frames->from_parser == 3)
	{
		/* As the stack pointer of this frame: where the one before it, raw_parser()'s, ends. */
		frames->is_live = (uintptr_t) frames->extra < (uintptr_t) _Unwind_GetCFA(context);
		return _URC_NORMAL_STOP;
	}
	return _URC_NO_REASON;
}

/* Whether the lexer that was found is at work, rather than what one has left behind. */
bool
dsql_iam_lexer_is_live(const DsqlIamLexer *lexer)
{
	Frames		frames = {.extra = lexer->extra};

	_Unwind_Backtrace(visit, &frames);
	return frames.is_live;
}
