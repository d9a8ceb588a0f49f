// SPDX-License-Identifier: MIT

package config

// A reading is of the text by a builder, part by part, while the normaliser writes
// on: of one part sections and keys are found while values are made of the one before.
type reading struct {
	b     *builder
	whole *report // of the file, which the normaliser writes to
	last  *part   // nil: there was none
}

// A part of the text.
type part struct {
	text   []byte
	report *report       // of what is wrong with it
	split  chan struct{} // closed when its text isn't needed any more
	built  chan struct{} // closed when its report is whole
	before *part         // the one before, until its report has been taken
}

// next has a part read, and returns the memory of the one before.
func (r *reading) next(text []byte) (free []byte) {
	before := r.last
	r.last = &part{
		text: text, report: &report{file: r.whole.file, secrets: r.whole.secrets, crowded: r.whole.crowded},
		split: make(chan struct{}), built: make(chan struct{}), before: before,
	}
	go r.b.read(r.last, before)
	if before == nil {
		return nil
	}
	<-before.split
	before.settle(r.whole)
	return before.text
}

// end waits until all parts have been read, and reports what is wrong with them.
func (r *reading) end() {
	if r.last == nil {
		return
	}
	if r.last.before != nil {
		r.last.before.settle(r.whole)
	}
	r.last.settle(r.whole)
	<-r.last.built
	r.whole.take(r.last.report)
	r.last = nil
}

// settle waits for the part before, and reports what is wrong with that.
func (p *part) settle(whole *report) {
	if p.before != nil {
		<-p.before.built
		whole.take(p.before.report)
		p.before = nil
	}
}
