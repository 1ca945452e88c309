package seal_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/relay/seal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	noon  = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	queue = relay.Queue{Organization: "ACME Inc/Web", Destination: relay.ForemanDestination}
)

func ring(t *testing.T) *seal.Keyring {
	t.Helper()
	return ringAt(t, filepath.Join(t.TempDir(), "keys"))
}

func ringAt(t *testing.T, dir string) *seal.Keyring {
	t.Helper()
	r, err := seal.OpenKeyring(dir, func() time.Time { return noon }, zerolog.Nop())
	require.NoError(t, err)
	return r
}

// sealer seals to the keys that are current in these rings.
func sealer(rings ...*seal.Keyring) *seal.Sealer {
	return seal.NewSealer(seal.SealerOptions{
		Recipients: func(string) (all []string) {
			for _, r := range rings {
				all = append(all, r.Recipients()...)
			}
			return all
		},
		Covers: func(context.Context, string) (bool, error) { return true, nil },
		Blind: func(_ context.Context, text string) (string, error) {
			sum := sha256.Sum256([]byte("secret" + text))
			return hex.EncodeToString(sum[:]), nil
		},
	})
}

func message(body string) *relay.Message {
	return &relay.Message{ID: relay.FreshID(queue), Queue: queue, Route: relay.GenericRoute, Body: []byte(body), Digest: relay.DigestOf([]byte(body))}
}

var token = relay.Credentials{Authorization: "Bearer s3cr3t-t0ken-of-mine"}

func TestWhatIsSealedOpensWithTheKeyAlone(t *testing.T) {
	ctx, keys := t.Context(), ring(t)
	m := message("the body")
	require.NoError(t, sealer(keys).SealCredentials(ctx, m, token))
	require.NoError(t, sealer(keys).SealBody(ctx, m))
	require.True(t, m.IsSealed())
	require.Equal(t, relay.DigestOf(m.Body), m.Digest, "of what is stored")
	require.NotContains(t, string(m.Body)+m.Sealed, "the body")
	require.NotContains(t, fmt.Sprintf("%+v %#v", *m, *m), "s3cr3t")
	current, _ := keys.Current()
	require.Equal(t, current.ID, m.SealedTo)

	opened, err := keys.Open(ctx, m)
	require.NoError(t, err)
	require.Equal(t, "the body", string(opened.Body))
	require.Equal(t, relay.DigestOf([]byte("the body")), opened.Digest)
	require.Empty(t, opened.Encryption)
	require.Equal(t, token.Authorization, opened.Credentials.Authorization)
	require.Nil(t, m.Credentials, "the message itself stays sealed")

	_, err = ring(t).Open(ctx, m)
	require.ErrorIs(t, err, relay.ErrUndecryptable)
	require.ErrorContains(t, err, current.ID, "which key is missing")
}

// What age itself has sealed as docs/handshake.md says is opened as what an edge has
// sealed; for another queue or key it is not, and then nobody knows which key it was.
func TestWhatForemanSeals(t *testing.T) {
	keys, lost := ring(t), ring(t)
	file := func(r *seal.Keyring, text string) []byte {
		current, _ := r.Current()
		to, err := age.ParseX25519Recipient(current.Recipient)
		require.NoError(t, err)
		var out bytes.Buffer
		w, err := age.Encrypt(&out, to)
		require.NoError(t, err)
		_, err = io.WriteString(w, text)
		require.NoError(t, err)
		require.NoError(t, w.Close())
		require.NoError(t, seal.CheckFile(out.Bytes()))
		return out.Bytes()
	}
	open := func(sealed []byte) (*relay.Message, error) {
		m := message("the body")
		m.Attach(base64.StdEncoding.EncodeToString(sealed))
		return keys.Open(t.Context(), m)
	}
	const inner = `{"authorization":"Bearer s3cr3t"}`
	m, err := open(file(keys, "foreman-relay/1 credentials ACME Inc/Web/foreman\n"+inner))
	require.NoError(t, err)
	require.Equal(t, "Bearer s3cr3t", m.Credentials.Authorization)
	require.True(t, m.Standing)
	for text, says := range map[string]string{
		"foreman-relay/1 credentials ACME Inc/Web/hook\n" + inner: "not the credentials of a message for ACME Inc/Web/foreman",
		inner: "",
		"foreman-relay/1 credentials ACME Inc/Web/foreman\nBearer s3cr3t": "cannot be read",
	} {
		_, err := open(file(keys, text))
		require.ErrorIs(t, err, relay.ErrUndecryptable)
		require.ErrorContains(t, err, says)
		require.NotContains(t, err.Error(), "s3cr3t")
	}
	_, err = open(file(lost, "foreman-relay/1 credentials ACME Inc/Web/foreman\n"+inner))
	require.ErrorIs(t, err, relay.ErrUndecryptable)
	require.ErrorContains(t, err, "a key of Foreman's choice")
}

func TestAFileThatNoDrainOpens(t *testing.T) {
	var out bytes.Buffer
	password, err := age.NewScryptRecipient("password")
	require.NoError(t, err)
	password.SetWorkFactor(1)
	w, err := age.Encrypt(&out, password)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.ErrorContains(t, seal.CheckFile(out.Bytes()), "a password or a key of another kind")
	require.ErrorContains(t, seal.CheckFile(out.Bytes()[:60]), "no whole file")
	key, _ := ring(t).Current()
	one, err := age.ParseX25519Recipient(key.Recipient)
	require.NoError(t, err)
	out.Reset()
	w, err = age.Encrypt(&out, slices.Repeat([]age.Recipient{one}, 100)...)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.ErrorContains(t, seal.CheckFile(out.Bytes()), "too many keys")
}

// Two sealings of one body differ, and their print is the same: it is what an
// idempotency key is held against.
func TestThePrintDoesNotDependOnTheSealing(t *testing.T) {
	ctx, s := t.Context(), sealer(ring(t))
	x, y, other, stream := message("the body"), message("the body"), message("another"), large("the body")
	for _, m := range []*relay.Message{x, y, other, stream} {
		require.NoError(t, s.SealBody(ctx, m))
	}
	require.NotEqual(t, x.Body, y.Body)
	require.Equal(t, x.Print, y.Print)
	require.NotEqual(t, x.Print, other.Print)
	require.NotEqual(t, relay.DigestOf([]byte("the body")), x.Print, "it would tell what a short body is")

	r, err := stream.Open(ctx)
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	require.Equal(t, x.Print, r.(relay.Printed).Print())
}

func large(body string) *relay.Message {
	m := message("")
	m.Body, m.Digest, m.Size = nil, "", int64(len(body))
	m.Open = func(context.Context) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(body)), nil }
	return m
}

// stored is what a broker makes of a message whose body comes.
func stored(t *testing.T, m *relay.Message) (*relay.Message, []byte) {
	t.Helper()
	r, err := m.Open(t.Context())
	require.NoError(t, err)
	sealed, err := io.ReadAll(r)
	require.NoError(t, err)
	require.LessOrEqual(t, int64(len(sealed)), m.Size, "what was said before")
	kept := *m
	kept.Object, kept.Size = relay.ObjectName(relay.FreshObject(), 1), int64(len(sealed))
	kept.Open = func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(sealed)), nil }
	return &kept, sealed
}

// The size that the destination is told is right for every length around those of
// the chunks.
func TestALargeBodyIsOpenedWhileItIsRead(t *testing.T) {
	ctx, keys := t.Context(), ring(t)
	const chunk = 64 << 10
	start := len("foreman-relay/1 body " + queue.String() + "\n")
	for _, n := range []int{1, chunk - start - 1, chunk - start, chunk - start + 1, chunk, 2*chunk - start, 5*chunk + 17} {
		body := strings.Repeat("x", n)
		m := large(body)
		require.NoError(t, sealer(keys, ring(t)).SealBody(ctx, m))
		m, _ = stored(t, m)
		opened, err := keys.Open(ctx, m)
		require.NoError(t, err)
		require.EqualValues(t, n, opened.Size)
		for range 2 { // package http may begin again
			got, err := opened.Load(ctx)
			require.NoError(t, err)
			require.Equal(t, body, string(got))
		}
	}
}

// Whatever byte is changed, and wherever it is cut, nothing wrong comes out: every
// byte of the header and around each border, and some of the rest.
func TestEveryChangeIsFound(t *testing.T) {
	ctx, keys := t.Context(), ring(t)
	small := message("a body of a few bytes")
	require.NoError(t, sealer(keys).SealBody(ctx, small))
	for i := range small.Body {
		changed := *small
		changed.Body = bytes.Clone(small.Body)
		changed.Body[i] ^= 1
		_, err := keys.Open(ctx, &changed)
		require.ErrorIs(t, err, relay.ErrUndecryptable, "byte %d", i)
		changed.Body = small.Body[:i]
		_, err = keys.Open(ctx, &changed)
		require.ErrorIs(t, err, relay.ErrUndecryptable, "cut at %d", i)
	}
	m := large(strings.Repeat("0123456789", 20_000)) // four chunks
	require.NoError(t, sealer(keys).SealBody(ctx, m))
	m, sealed := stored(t, m)
	for _, i := range []int{0, 30, 150, 200, 230, 300, 65_000, 66_000, 131_300, 132_000, len(sealed) - 17, len(sealed) - 16, len(sealed) - 1} {
		require.ErrorIs(t, readOf(ctx, keys, m, flipped(sealed, i)), relay.ErrUndecryptable, "byte %d", i)
		require.ErrorIs(t, readOf(ctx, keys, m, sealed[:i]), relay.ErrUndecryptable, "cut at %d", i)
	}
	require.ErrorIs(t, readOf(ctx, keys, m, append(bytes.Clone(sealed), 'x')), relay.ErrUndecryptable)
	require.NoError(t, readOf(ctx, keys, m, sealed))
}

func flipped(b []byte, i int) []byte {
	b = bytes.Clone(b)
	b[i] ^= 1
	return b
}

// readOf opens and reads a body of which this is stored.
func readOf(ctx context.Context, keys *seal.Keyring, m *relay.Message, sealed []byte) error {
	other := *m
	other.Open = func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(sealed)), nil }
	opened, err := keys.Open(ctx, &other)
	if err != nil {
		return err
	}
	_, err = opened.Load(ctx)
	return err
}

// A broker that cannot be read is no matter of keys: the message is not given up.
func TestAnErrorOfReadingStaysOne(t *testing.T) {
	ctx, keys, away := t.Context(), ring(t), errors.New("the broker is away")
	m := large(strings.Repeat("x", 200_000))
	require.NoError(t, sealer(keys).SealBody(ctx, m))
	m, sealed := stored(t, m)
	for _, n := range []int{0, 100, 70_000} {
		m.Open = func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(bytes.NewReader(sealed[:n]), failing{away})), nil
		}
		opened, err := keys.Open(ctx, m)
		if err == nil {
			_, err = opened.Load(ctx)
		}
		require.ErrorIs(t, err, away, n)
		require.NotErrorIs(t, err, relay.ErrUndecryptable, n)
	}
}

type failing struct{ error }

func (f failing) Read([]byte) (int, error) { return 0, f.error }

// An edge that was taken over must not have the credentials delivered as a body,
// or for another organization.
func TestWhatIsSealedIsForOnePurposeAndQueue(t *testing.T) {
	ctx, keys := t.Context(), ring(t)
	m := message("the body")
	require.NoError(t, sealer(keys).SealCredentials(ctx, m, token))

	other := *m
	other.Queue.Organization = "Other"
	_, err := keys.Open(ctx, &other)
	require.ErrorIs(t, err, relay.ErrUndecryptable)

	body := message("")
	require.NoError(t, sealer(keys).SealBody(ctx, body))
	swapped := *body
	swapped.Body = decoded(t, m.Sealed)
	_, err = keys.Open(ctx, &swapped)
	require.ErrorIs(t, err, relay.ErrUndecryptable)
	swapped = *m
	swapped.Sealed = encoded(body.Body)
	_, err = keys.Open(ctx, &swapped)
	require.ErrorIs(t, err, relay.ErrUndecryptable)
}

func TestNothingIsSealedToNobody(t *testing.T) {
	m := message("the body")
	for _, err := range []error{sealer().SealBody(t.Context(), m), sealer().SealCredentials(t.Context(), m, token)} {
		require.Equal(t, relay.CodeUnavailable, relay.CodeOf(err))
		require.ErrorContains(t, err, "nothing was stored")
	}
	require.False(t, m.IsSealed())
	require.Equal(t, "the body", string(m.Body))
}

func TestRotation(t *testing.T) {
	ctx, dir := t.Context(), filepath.Join(t.TempDir(), "keys")
	keys := ringAt(t, dir)
	first, _ := keys.Current()
	before := message("before")
	require.NoError(t, sealer(keys).SealBody(ctx, before))

	second, err := ringAt(t, dir).Rotate(noon.Add(-time.Hour)) // another process, and its clock
	require.NoError(t, err)
	require.True(t, second.Created.After(first.Created), "the newest is current, whatever the clock says")
	require.Equal(t, []string{second.Recipient}, keys.Recipients(), "without a restart")
	after := message("after")
	require.NoError(t, sealer(keys).SealBody(ctx, after))
	require.Equal(t, second.ID, after.SealedTo)
	for _, m := range []*relay.Message{before, after} {
		_, err := keys.Open(ctx, m)
		require.NoError(t, err)
	}
	listed, err := seal.List(dir)
	require.NoError(t, err)
	require.Len(t, listed, 2)
	require.Equal(t, []bool{false, true}, []bool{listed[0].Current, listed[1].Current})

	aside := filepath.Join(t.TempDir(), "aside")
	require.NoError(t, os.Rename(listed[0].File, aside))
	keys.Recipients()
	_, err = keys.Open(ctx, before)
	require.ErrorContains(t, err, "sealed to key "+first.ID+", which is not here; here are "+second.ID)
	require.NoError(t, os.Rename(aside, listed[0].File))
	_, err = keys.Open(ctx, before)
	require.NoError(t, err, "a key that is brought back opens at once")

	away := filepath.Join(t.TempDir(), "away")
	require.NoError(t, os.Mkdir(away, 0o700))
	for _, k := range listed {
		require.NoError(t, os.Rename(k.File, filepath.Join(away, filepath.Base(k.File))))
	}
	require.Empty(t, keys.Recipients())
	_, err = keys.Open(ctx, before)
	require.ErrorContains(t, err, "which is not here; here are none")
	for _, k := range listed {
		require.NoError(t, os.Rename(filepath.Join(away, filepath.Base(k.File)), k.File))
	}
	_, err = keys.Open(ctx, before)
	require.NoError(t, err, "when there was none too")
}

func TestKeysAreForTheirOwnerAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	ringAt(t, dir)
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	keys, err := seal.List(dir)
	require.NoError(t, err)
	info, err = os.Stat(keys[0].File)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	require.NotContains(t, fmt.Sprintf("%v %+v %#v", keys, keys[0], keys[0]), "AGE-SECRET")

	for _, mode := range []os.FileMode{0o770, 0o702} { // whose key would the edge be told?
		require.NoError(t, os.Chmod(dir, mode))
		_, err = seal.OpenKeyring(dir, time.Now, zerolog.Nop())
		require.ErrorContains(t, err, "chmod go-w")
	}
	require.NoError(t, os.Chmod(dir, 0o755))
	require.NoError(t, os.Chmod(keys[0].File, 0o640))
	_, err = seal.List(dir)
	require.ErrorContains(t, err, "chmod 600")
	require.NoError(t, os.Chmod(keys[0].File, 0o600))
	require.NoError(t, os.WriteFile(keys[0].File, []byte("AGE-SECRET-KEY-1NOTONE\n"), 0o600))
	_, err = seal.List(dir)
	require.ErrorContains(t, err, "put the file back")
	require.NotContains(t, err.Error(), "NOTONE")
}

// Root may rotate the keys of a drain that runs as somebody else.
func TestAKeyIsItsDrains(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	dir := filepath.Join(t.TempDir(), "keys")
	ringAt(t, dir)
	const drain = 4711
	require.NoError(t, os.Chown(dir, drain, drain))
	k, err := ringAt(t, dir).Rotate(noon.Add(time.Hour))
	require.NoError(t, err)
	info, err := os.Stat(k.File)
	require.NoError(t, err)
	owner := info.Sys().(*syscall.Stat_t)
	require.EqualValues(t, []uint32{drain, drain}, []uint32{owner.Uid, owner.Gid})
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

// The largest credentials, sealed to as many keys as there may be, fit an envelope.
func TestTheLargestCredentialsFit(t *testing.T) {
	var rings []*seal.Keyring
	for range relay.MaxRecipients {
		rings = append(rings, ring(t))
	}
	m := message("")
	c := relay.Credentials{Key: bytes.Repeat([]byte("x"), relay.MaxCredentials)}
	require.NoError(t, sealer(rings...).SealCredentials(t.Context(), m, c))
	require.LessOrEqual(t, len(m.Sealed), relay.MaxSealed)
	_, err := relay.EncodeEnvelope(m)
	require.NoError(t, err)
	require.Equal(t, make([]byte, relay.MaxCredentials), c.Key, "what was passed is overwritten")
	opened, err := rings[relay.MaxRecipients-1].Open(t.Context(), m)
	require.NoError(t, err)
	require.Equal(t, strings.Repeat("x", relay.MaxCredentials), string(opened.Credentials.Key))
}
