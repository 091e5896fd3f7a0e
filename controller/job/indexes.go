package job

import (
	"slices"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// parseIndexes reads numbers as status.completedIndexes writes them, such as "0,2-4". Only those below limit count;
// what can't be read is skipped, since a status may have been written by anyone.
func parseIndexes(text string, limit int) map[int]bool {
	out := make(map[int]bool)
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(part, "-")
		from, err := strconv.Atoi(first)
		if err != nil || from < 0 {
			continue
		}
		to := from
		if isRange {
			if to, err = strconv.Atoi(last); err != nil {
				continue
			}
		}
		for i := from; i <= min(to, limit-1); i++ {
			out[i] = true
		}
	}
	return out
}

// formatIndexes is the reverse: ranges of three or more are written with a dash.
func formatIndexes(set map[int]bool) string {
	var sorted []int
	for i := range set {
		sorted = append(sorted, i)
	}
	slices.Sort(sorted)
	var parts []string
	for i := 0; i < len(sorted); {
		end := i
		for end+1 < len(sorted) && sorted[end+1] == sorted[end]+1 {
			end++
		}
		switch end - i {
		case 0:
			parts = append(parts, strconv.Itoa(sorted[i]))
		case 1:
			parts = append(parts, strconv.Itoa(sorted[i]), strconv.Itoa(sorted[end]))
		default:
			parts = append(parts, strconv.Itoa(sorted[i])+"-"+strconv.Itoa(sorted[end]))
		}
		i = end + 1
	}
	return strings.Join(parts, ",")
}

// indexOf is a pod's completion index; -1 when it has none that the Job has.
func indexOf(p *corev1.Pod, completions int) int {
	i, err := strconv.Atoi(p.Annotations[batchv1.JobCompletionIndexAnnotation])
	if err != nil || i < 0 || i >= completions {
		return -1
	}
	return i
}
