package tracing

// Unlink makes the binary one without exporters until what it returns is called.
func Unlink() (restore func()) {
	before := linked.Swap(nil)
	return func() { linked.Store(before) }
}
