// Package spool reads the spool directories of today's smart proxy plugins: what
// lies in them, in which order it has to be sent, and as which message.
//
// Such a directory belongs to another user and may still be written to. So
// nothing here follows a symbolic link, opens what is no regular file, or leaves
// the directory, and nothing is ever deleted.
package spool
