// Package word is what a function shares with others.
package word

// Status is what the function answers with.
const Status = 503
