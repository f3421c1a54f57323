package config_test

import ("testing";"time";"strings";"fmt";"argosy.dev/argosy/pkg/config")

func TestWorst(t *testing.T) {
	var keys, merges, anchors strings.Builder
	for i := 0; keys.Len() < 1<<20-40; i++ { fmt.Fprintf(&keys, "k%d:\n", i) }
	merges.WriteString("b: &b {"); for i := 0; i < 20000; i++ { fmt.Fprintf(&merges, "k%d: 1, ", i) }; merges.WriteString("}\nc: {<<: [*b,*b,*b,*b,*b]}\n")
	anchors.WriteString("l: &l ["); anchors.WriteString(strings.Repeat("x,", 20000)); anchors.WriteString("]\nm: [*l,*l,*l,*l,*l,*l]\n")
	var machines strings.Builder
	machines.WriteString(fleetHead+"machines:\n")
	for i := 0; machines.Len() < 1<<20-80; i++ { fmt.Fprintf(&machines, "- {name: m%d, address: 10.%d.%d.%d}\n", i, i>>16, i>>8&255, i&255) }
	for name, text := range map[string]string{
		"unknown keys": keys.String(), "broken unknown keys": keys.String()+"\"", "brackets": strings.Repeat("[", 1<<20-1), "braces": strings.Repeat("{", 1<<20-1),
		"quotes": "a: "+strings.Repeat("\"", 1<<19), "dashes": strings.Repeat("- ", 1<<19), "colons": strings.Repeat("a: ", 300000), "tabs": strings.Repeat("\t", 1<<20-1),
		"newlines tabs": strings.Repeat("\n\t", 1<<19-1), "merges": merges.String(), "anchors": anchors.String(), "questions": strings.Repeat("? ", 1<<19-1),
		"anchorlist": strings.Repeat("&a ", 300000), "stars": strings.Repeat("*a\n", 300000), "pipe": "a: |\n"+strings.Repeat(" x\n", 300000)+"\"", "comments": strings.Repeat("#\n", 1<<19-1), "docs": strings.Repeat("---\n", 1<<18-1),
		"long key": strings.Repeat("k", 1<<20-10)+": 1", "crs": strings.Repeat("\r", 1<<20-1), "flow broken": "["+strings.Repeat("a,", 500000), "commas": strings.Repeat("[a: {", 150000), "bang": strings.Repeat("! ", 1<<19-1),
		"machines": machines.String(),
		"s dashes": strings.Repeat(strings.Repeat("- ", 100)+"\n", 300)+"\"", "s brackets": strings.Repeat("[", 500), "s braces": strings.Repeat("{", 500),"s mixed": strings.Repeat("[{a: ", 166), "s stairs": func() string { var b strings.Builder; for i := 0; b.Len() < 64000; i++ { b.WriteString(strings.Repeat(" ", i)+"- \n") }; return b.String()+"\"" }(),
		"s stairs2": func() string { var b strings.Builder; for i := 0; b.Len() < 64000; i++ { b.WriteString(strings.Repeat(" ", i)+"a:\n") }; return b.String()+"\"" }(),
		"s commas": "["+strings.Repeat("a,", 32000), "s pipe": "a: |\n"+strings.Repeat(" x\n", 21000)+"\"", "s q": strings.Repeat("? \n", 20000)+"\"", "s nl": strings.Repeat("- a\n", 16000)+"\"", "s anchors": strings.Repeat("&a\n", 20000),
		"s quotes": strings.Repeat("\"\n", 30000)+"\"", "s colon": strings.Repeat(":\n", 30000)+"[",
	} {
		start := time.Now()
		var err error
		if name == "machines" { _, err = config.Parse("a", []byte(goodVCluster), []byte(text)) } else { _, err = config.Parse("a", []byte(text), []byte(goodFleet)) }
		d := time.Since(start)
		msg := fmt.Sprint(err); if len(msg) > 120 { msg = msg[:120] }
		fmt.Printf("%8.1fms %s: %q\n", float64(d.Microseconds())/1000, name, msg)
	}
}
