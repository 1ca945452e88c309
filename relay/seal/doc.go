// Package seal seals what only whoever delivers may read: credentials passed with
// a message, and the bodies of organizations that want theirs so. Files of age
// (X25519, ChaCha20-Poly1305) are the one form; the keys lie in a directory on the
// side that delivers, and the edge has the public halves alone.
//
// What is sealed says what it is and which queue it is for, so that neither can be
// taken for the other, nor be delivered for another organization. Who holds the
// public key can always seal something of his own: age says nothing of the sender.
package seal
