package inventory

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// csvColumns are the columns that a table may have.
var csvColumns = []string{"name", "address", "user", "port"}

// CSV reads a table with a head: columns name and address, and, where wanted, user and port, in any order.
func CSV(text []byte) ([]Host, error) {
	reader := csv.NewReader(strings.NewReader(strings.TrimPrefix(string(text), "\ufeff"))) // a spreadsheet's mark
	reader.Comment, reader.TrimLeadingSpace = '#', true
	head, err := reader.Read()
	if err != nil {
		return nil, fmt.Errorf("reading the head of the table: %w; it needs the columns name and address", err)
	}
	for i, column := range head {
		head[i] = strings.ToLower(strings.TrimSpace(column))
		if !slices.Contains(csvColumns, head[i]) {
			return nil, fmt.Errorf("reading the head of the table: unknown column %q; known are %s", column,
				strings.Join(csvColumns, ", "))
		}
	}
	for _, column := range csvColumns[:2] {
		if !slices.Contains(head, column) {
			return nil, fmt.Errorf("reading the head of the table: it has no column %q", column)
		}
	}
	var hosts []Host
	for {
		row, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return hosts, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading the table: %w", err)
		}
		line, _ := reader.FieldPos(0)
		host, err := hostOf(head, row)
		if err != nil {
			return nil, fmt.Errorf("reading line %d of the table: %w", line, err)
		}
		hosts = append(hosts, host)
	}
}

// hostOf returns the host of a row.
func hostOf(head, row []string) (host Host, err error) {
	for i, column := range head {
		value := strings.TrimSpace(row[i])
		switch column {
		case "name":
			host.Name = value
		case "address":
			host.Address = value
		case "user":
			host.User = value
		case "port":
			if host.Port, err = port(value); err != nil {
				return host, err
			}
		}
	}
	if host.Name == "" || host.Address == "" {
		return host, errors.New("name and address must not be empty")
	}
	return host, nil
}
