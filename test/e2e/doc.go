// Package e2e tells the platform's story from end to end, on two kinds of platform: `isectl dev`, all in one
// process, and separate processes of the functions framework on the emulators of Firestore and Pub/Sub and a
// real Redis. On the latter it also takes parts away and looks at what is left.
//
// Every process ends with the test, and also with the test binary, however that dies. Where a part is missing
// the tests that need it are skipped; with CI=true they fail instead. LONG=1 makes them longer.
package e2e
