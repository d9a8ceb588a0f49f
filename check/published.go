// SPDX-License-Identifier: MIT

package check

// published are the public keys of private ones that documents show: of wg(8)
// and wg-quick(8), and of the documents and examples of this project, which a
// test looks through.
var published = []string{
	"HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=",
	"cL9S5KV5wAy/AsKyYct3qz9BHxe5FYqxlb/eDthF/VY=",
	"2HZs6TgJGjvLbhVzhDkInAVmMBLyM2BVlGMpq3pImCc=",
	"KGMXNeQ9OMa3G6up/S2+tvNQ20QWBcbi1+V5Libal2A=",
	"TTJz6cI7GhJ0ZJqAsSCvmVxDdGXGUELNhTFc7etyjj4=",
	"zxqrwqCnss0vUwVXRujaEV7kftzb/nYMBHPtRGJhaWk=",
}
