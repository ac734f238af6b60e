// Package check judges tokens, ids and documents without a platform, by the code that the functions run:
// for operators, for pipelines and for tests of other implementations.
package check

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
)

// maxLine bounds a line of input. What is longer than anything valid is judged by its beginning, which is
// longer than anything valid too.
const maxLine = 64 << 10

// Lines judges each line of a reader and writes one JSON object a line, in the same order. A line ends
// with \n, which is not part of it; nothing else is taken off. The last line may lack its end.
func Lines(in io.Reader, out io.Writer, judge func(line string) any) error {
	reader := bufio.NewReaderSize(in, maxLine)
	writer := bufio.NewWriter(out)
	encoder := json.NewEncoder(writer)
	encoder.SetEscapeHTML(false)
	for {
		line, err := reader.ReadSlice('\n')
		switch {
		case err == nil:
			line = line[:len(line)-1]
		case errors.Is(err, io.EOF):
			if len(line) == 0 {
				return writer.Flush()
			}
		case !errors.Is(err, bufio.ErrBufferFull):
			return errors.Join(err, writer.Flush())
		}
		if err := encoder.Encode(judge(string(line))); err != nil {
			return err
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			if err := skipLine(reader); err != nil {
				return errors.Join(err, writer.Flush())
			}
		}
		// Whoever writes one line and waits for its verdict gets it.
		if reader.Buffered() == 0 {
			if err := writer.Flush(); err != nil {
				return err
			}
		}
	}
}

// skipLine drops the rest of a line that is too long.
func skipLine(reader *bufio.Reader) error {
	for {
		_, err := reader.ReadSlice('\n')
		switch {
		case err == nil, errors.Is(err, io.EOF):
			return nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
	}
}
