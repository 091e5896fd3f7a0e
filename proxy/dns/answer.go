package dns

import (
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

// Answer answers a question of class IN. ok is false when the name is not one that the records speak for: neither in
// the zone nor an address of a Service. The message is complete but for what depends on the asker (id, EDNS, size).
func (r *Records) Answer(q dns.Question) (msg *dns.Msg, ok bool) {
	name := strings.ToLower(q.Name)
	msg = new(dns.Msg)
	msg.Response, msg.Authoritative = true, true
	msg.Question = []dns.Question{q}
	if ip, isAddr := arpaAddr(name); isAddr {
		return msg, r.answerReverse(msg, q, ip)
	}
	if !dns.IsSubDomain(r.zone.Domain, name) {
		return nil, false
	}
	r.answerName(msg, q, name)
	return msg, true
}

func (r *Records) answerReverse(msg *dns.Msg, q dns.Question, ip netip.Addr) bool {
	names, ok := r.reverse[ip]
	if !ok {
		return false
	}
	if q.Qtype == dns.TypePTR || q.Qtype == dns.TypeANY {
		for _, n := range names {
			msg.Answer = append(msg.Answer, &dns.PTR{Hdr: r.header(q.Name, dns.TypePTR), Ptr: n})
		}
		return true
	}
	r.negative(msg)
	return true
}

func (r *Records) answerName(msg *dns.Msg, q dns.Question, name string) {
	below := strings.TrimSuffix(strings.TrimSuffix(name, r.zone.Domain), ".")
	n := r.names[name]
	if n == nil {
		switch ip, ok := podAddr(below); {
		case ok:
			n = &node{addrs: []netip.Addr{ip}}
		case strings.HasSuffix(below, ".pod") && strings.Count(below, ".") == 1:
			n = &node{} // any namespace may have pods
		default:
			msg.Rcode = dns.RcodeNameError
			r.negative(msg)
			return
		}
	}
	if n.cname != "" {
		msg.Answer = append(msg.Answer, &dns.CNAME{Hdr: r.header(q.Name, dns.TypeCNAME), Target: n.cname})
		// A target in this zone is answered along, one step: longer chains are for the resolver to follow.
		if t := r.names[n.cname]; t != nil && (q.Qtype == dns.TypeA || q.Qtype == dns.TypeAAAA) {
			msg.Answer = r.appendAddrs(msg.Answer, n.cname, t, q.Qtype)
		}
		return
	}
	any := q.Qtype == dns.TypeANY
	if q.Qtype == dns.TypeA || q.Qtype == dns.TypeAAAA || any {
		msg.Answer = r.appendAddrs(msg.Answer, q.Name, n, q.Qtype)
	}
	if q.Qtype == dns.TypeSRV || any {
		for _, s := range n.srv {
			msg.Answer = append(msg.Answer, &dns.SRV{Hdr: r.header(q.Name, dns.TypeSRV), Weight: 100, Port: s.port, Target: s.target})
			if t := r.names[s.target]; t != nil {
				msg.Extra = r.appendAddrs(msg.Extra, s.target, t, dns.TypeANY)
			}
		}
		msg.Extra = dns.Dedup(msg.Extra, nil)
	}
	if name == r.zone.Domain {
		if q.Qtype == dns.TypeSOA || any {
			msg.Answer = append(msg.Answer, r.soa())
		}
		if q.Qtype == dns.TypeNS || any {
			msg.Answer = append(msg.Answer, &dns.NS{Hdr: r.header(q.Name, dns.TypeNS), Ns: "ns.dns." + r.zone.Domain})
		}
	}
	if name == "dns-version."+r.zone.Domain && (q.Qtype == dns.TypeTXT || any) {
		msg.Answer = append(msg.Answer, &dns.TXT{Hdr: r.header(q.Name, dns.TypeTXT), Txt: []string{"1.1.0"}})
	}
	if len(msg.Answer) == 0 {
		r.negative(msg)
	}
}

func (r *Records) appendAddrs(to []dns.RR, name string, n *node, qtype uint16) []dns.RR {
	for _, a := range n.addrs {
		switch t := addrType(a); {
		case qtype != t && qtype != dns.TypeANY:
		case t == dns.TypeA:
			to = append(to, &dns.A{Hdr: r.header(name, t), A: a.AsSlice()})
		default:
			to = append(to, &dns.AAAA{Hdr: r.header(name, t), AAAA: a.AsSlice()})
		}
	}
	return to
}

// negative adds what says for how long the absence may be remembered.
func (r *Records) negative(msg *dns.Msg) { msg.Ns = append(msg.Ns, r.soa()) }

func (r *Records) soa() dns.RR {
	return &dns.SOA{
		Hdr: r.header(r.zone.Domain, dns.TypeSOA), Ns: "ns.dns." + r.zone.Domain, Mbox: "hostmaster." + r.zone.Domain,
		Serial: r.zone.Serial, Refresh: 7200, Retry: 1800, Expire: 86400, Minttl: r.zone.TTL,
	}
}

func (r *Records) header(name string, rrtype uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: rrtype, Class: dns.ClassINET, Ttl: r.zone.TTL}
}
