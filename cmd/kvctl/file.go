package main

import (
	"errors"
	"os"
	"path/filepath"
)

// beside makes a new file in the directory of path, which only this user may read.
func beside(path string) (*os.File, error) {
	return os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
}

// writable reports why replaceFile would fail, before anything is done that could then
// not be kept.
func writable(path string) error {
	tmp, err := beside(path)
	if err != nil {
		return err
	}
	return errors.Join(tmp.Close(), os.Remove(tmp.Name()))
}

// replaceFile writes a file beside its name and moves it there: who is interrupted
// leaves the old one.
func replaceFile(path string, b []byte) error {
	tmp, err := beside(path)
	if err != nil {
		return err
	}
	_, err = tmp.Write(b)
	err = errors.Join(err, tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return nil
}
